// In the processor's place, a module that only reads: what its simulation costs is the memory, the bus and the bench.
//
// A job lasts `COUNT cycles beyond that of its start, and asks in them for `BURSTS bursts of 16 beats, evenly spread, out of the
// memory's first 512 KiB. The macros: offsets of the registers that hold the two, and of two more, and the bus's width.
module npu (
    input clk, input rst,
    input [6:0] csr__addr, input csr__r_stb, output [31:0] csr__r_data, input csr__w_stb, input [31:0] csr__w_data,
    output [31:0] axi_read__araddr, output [7:0] axi_read__arlen, output [2:0] axi_read__arsize,
    output [1:0] axi_read__arburst, output axi_read__arvalid, input axi_read__arready,
    input [`BUS_BITS-1:0] axi_read__rdata, input [1:0] axi_read__rresp, input axi_read__rlast, input axi_read__rvalid,
    output axi_read__rready,
    output [31:0] axi_write__awaddr, output [7:0] axi_write__awlen, output [2:0] axi_write__awsize,
    output [1:0] axi_write__awburst, output axi_write__awvalid, input axi_write__awready,
    output [`BUS_BITS-1:0] axi_write__wdata, output [`BUS_BITS/8-1:0] axi_write__wstrb, output axi_write__wlast,
    output axi_write__wvalid, input axi_write__wready,
    input [1:0] axi_write__bresp, input axi_write__bvalid, output axi_write__bready,
    output interrupt,
    output [5:0] trace__start, output [5:0] trace__done, output [143:0] trace__index, output [191:0] trace__value
);
    localparam int BEATS = 16;

    reg [31:0] count, bursts, elapsed, owed;
    reg [18:0] address;
    reg busy, asking, ended;
    wire issue = busy && !asking && owed >= count;

    assign csr__r_data = 0;
    assign axi_read__araddr = {13'b0, address};
    assign axi_read__arlen = BEATS - 1;
    assign axi_read__arsize = $clog2(`BUS_BITS / 8);
    assign axi_read__arburst = 1;
    assign axi_read__arvalid = asking;
    assign axi_read__rready = 1;
    assign axi_write__awvalid = 0;
    assign axi_write__wvalid = 0;
    assign axi_write__bready = 1;
    assign interrupt = ended;
    assign trace__start = 0;
    assign trace__done = 0;

    always @(posedge clk) begin
        if (busy) begin
            elapsed <= elapsed + 1;
            owed <= owed + bursts - (issue ? count : 0);
            if (elapsed == count - 1) begin
                busy <= 0;
                ended <= 1;
            end
        end
        if (issue) asking <= 1;
        if (asking && axi_read__arready) begin
            asking <= 0;
            address <= address + BEATS * `BUS_BITS / 8;
        end
        if (csr__w_stb) case (csr__addr)
            `COUNT: count <= csr__w_data;
            `BURSTS: bursts <= csr__w_data;
            `INTERRUPT: ended <= 0;
            `CONTROL: begin
                busy <= csr__w_data[0];
                {elapsed, owed, address} <= 0;
            end
        endcase
        if (rst) begin
            busy <= 0;
            asking <= 0;
            ended <= 0;
        end
    end
endmodule
