// A stand-in for the processor that drives every port of the bench. A job reads ARGUMENT1 bursts of ARGUMENT2 beats from
// ENTRY on, one issued every 1 + ARGUMENT3 cycles; it writes ARGUMENT4 beats, each the sum of all beats so far, to
// WRITE_BASE; it ends with fault ARGUMENT5, or never if ARGUMENT6 is not zero.
// Events: LOAD starts at an accepted read burst, is done at each beat; STORE likewise for a write burst and its response;
// MAC is done at each write beat; CONTROL starts with the job and is done in its last cycle.
module npu(
    input clk, input rst,
    input [6:0] csr__addr, input csr__r_stb, output reg [31:0] csr__r_data, input csr__w_stb, input [31:0] csr__w_data,
    output reg [31:0] axi_read__araddr, output [7:0] axi_read__arlen, output [2:0] axi_read__arsize,
    output [1:0] axi_read__arburst, output axi_read__arvalid, input axi_read__arready,
    input [`BUS-1:0] axi_read__rdata, input [1:0] axi_read__rresp, input axi_read__rlast, input axi_read__rvalid,
    output axi_read__rready,
    output [31:0] axi_write__awaddr, output [7:0] axi_write__awlen, output [2:0] axi_write__awsize,
    output [1:0] axi_write__awburst, output axi_write__awvalid, input axi_write__awready,
    output [`BUS-1:0] axi_write__wdata, output [`BUS/8-1:0] axi_write__wstrb, output axi_write__wlast,
    output axi_write__wvalid, input axi_write__wready,
    input [1:0] axi_write__bresp, input axi_write__bvalid, output axi_write__bready,
    output reg interrupt,
    output [5:0] trace__start, output [5:0] trace__done, output [143:0] trace__index, output [191:0] trace__value
);
    reg [31:0] register [0:63];
    reg [31:0] cycles, sum, gap, issued, beats, written;
    reg busy, addressed;
    wire [31:0] bursts = register[17], length = register[18], pause = register[19], stores = register[20];
    wire start = csr__w_stb && csr__addr == 2 && csr__w_data[0];
    wire reads_done = beats == bursts * length;
    wire last = busy && register[22] == 0 && reads_done && (stores == 0 || axi_write__bvalid);

    assign axi_read__arlen = length - 1;
    assign axi_read__arsize = $clog2(`BUS / 8);
    assign axi_read__arburst = 1;
    assign axi_read__arvalid = busy && issued != bursts && gap == 0;
    assign axi_read__rready = 1;
    assign axi_write__awaddr = register[14];
    assign axi_write__awlen = stores - 1;
    assign axi_write__awsize = $clog2(`BUS / 8);
    assign axi_write__awburst = 1;
    assign axi_write__awvalid = busy && reads_done && stores != 0 && !addressed;
    assign axi_write__wdata = sum;
    assign axi_write__wstrb = {(`BUS/8){1'b1}};
    assign axi_write__wvalid = busy && addressed && written != stores;
    assign axi_write__wlast = written == stores - 1;
    assign axi_write__bready = 1;

    wire accepted = axi_read__arvalid && axi_read__arready;
    wire stored = axi_write__wvalid && axi_write__wready;
    assign trace__start = {axi_write__awvalid, 1'b0, 1'b0, 1'b0, accepted, start};
    assign trace__done = {axi_write__bvalid, 1'b0, stored, 1'b0, axi_read__rvalid, last};
    assign trace__index = {24'd5, 24'd0, written[23:0], 24'd0, issued[23:0], 24'd0};
    assign trace__value = {{30'b0, axi_write__bresp}, 32'b0, 32'b0, 32'b0, axi_read__rdata[31:0], 32'b0};

    always @(posedge clk) begin
        if (csr__w_stb && csr__addr < 64 && csr__addr != 5) register[csr__addr] <= csr__w_data;
        if (csr__r_stb) case (csr__addr)
            0: csr__r_data <= 32'h4F535331;
            1: csr__r_data <= `DIGEST;
            3: csr__r_data <= {29'b0, register[21] != 0, interrupt, busy};
            4: csr__r_data <= register[21];
            64: csr__r_data <= cycles;
            98: csr__r_data <= beats;
            default: csr__r_data <= 0;
        endcase
        if (start) begin
            {cycles, sum, gap, issued, beats, written} <= 0;
            addressed <= 0;
            busy <= 1;
        end
        if (busy) begin
            cycles <= cycles + 1;
            gap <= accepted ? pause : gap - (gap != 0);
            issued <= issued + accepted;
            if (accepted) axi_read__araddr <= axi_read__araddr + length * (`BUS / 8);
            if (axi_read__rvalid) begin
                beats <= beats + 1;
                sum <= sum + axi_read__rdata[31:0];
            end
            if (axi_write__awvalid) addressed <= 1;
            written <= written + stored;
        end else axi_read__araddr <= register[7];
        if (last) begin
            busy <= 0;
            interrupt <= 1;
        end
        if (csr__w_stb && csr__addr == 5) interrupt <= 0;
        if (rst) begin
            busy <= 0;
            interrupt <= 0;
        end
    end
endmodule
