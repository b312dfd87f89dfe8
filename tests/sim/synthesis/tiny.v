// In the form that Amaranth writes: two parts alike, which share a module of a multiplier, a block RAM and a
// LUT RAM, and one that adds up what they give.
module pins(input clk, input i, output o);
  reg [27:0] bits;
  always @(posedge clk) bits <= {bits[26:0], i};
  \pins.inside inside(.clk(clk), .bits(bits), .o(o));
endmodule

module \pins.inside (input clk, input [27:0] bits, output reg o);
  wire [15:0] a, b, total;
  always @(posedge clk) o <= ^total;
  \pins.inside.lane0 lane0(.clk(clk), .bits(bits[17:0]), .product(a));
  \pins.inside.lane1 lane1(.clk(clk), .bits(bits[27:10]), .product(b));
  \pins.inside.sum$7 sum(.clk(clk), .a(a), .b(b), .total(total));
endmodule

module \pins.inside.lane0 (input clk, input [17:0] bits, output [15:0] product);
  npu_lane instance_(.clk(clk), .bits(bits), .product(product));
endmodule

module \pins.inside.lane1 (input clk, input [17:0] bits, output [15:0] product);
  npu_lane instance_(.clk(clk), .bits(bits), .product(product));
endmodule

module \pins.inside.sum$7 (input clk, input [15:0] a, input [15:0] b, output reg [15:0] total);
  reg [15:0] flags [1:0];
  always @(posedge clk) begin
    total <= total + (a ^ b) + flags[a[0]];
    flags[b[0]] <= a;
  end
endmodule

module npu_lane(input clk, input [17:0] bits, output reg [15:0] product);
  reg [7:0] words [1023:0];
  reg [7:0] \few [3:0];
  reg [7:0] word;
  wire [7:0] other = \few [bits[1:0]];
  always @(posedge clk) begin
    if (bits[16]) words[bits[9:0]] <= bits[15:8];
    if (bits[17]) \few [bits[1:0]] <= bits[9:2];
    word <= words[bits[9:0]];
    product <= word * other;
  end
endmodule
