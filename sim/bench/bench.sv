// The processor on its memory, served by a mailbox: see mailbox.py for the words of `request` and `result`.
//
// The host writes `request`, toggles `go`, and clocks until `finished` has toggled too. Job cycle 0 is the cycle in which
// the write that starts the job is on the CSR bus. Between jobs the processor is idle, so cycles there count for nothing.
`include "mailbox.svh"

module bench #(
    parameter int BUS_BITS = 64,
    parameter int MEMORY_BYTES = 1 << 24
) (
    input clk,
    input [32*REQUEST_WORDS-1:0] request,
    input go,
    output reg finished,
    output busy,
    output wave,  // this cycle belongs to the waveform
    output reg [32*RESULT_WORDS-1:0] result
);
    localparam int READS = $size(READ_REGISTERS);
    localparam int RESET_CYCLES = 8;

    typedef enum int {RESET, IDLE, DRAIN, WRITE, RUN, READ, SETTLE, SAMPLE, CLEAR, FINISH} state_t;

    function automatic [31:0] field(input int word);
        return request[32*word +: 32];
    endfunction

    state_t state;
    int step;
    reg rst;
    wire interrupt;

    initial begin
        state = RESET;
        step = 0;
        rst = 1;
        finished = 0;
        result = 0;
        running = 0;
    end

    // Time of the job, and the competitor that owns music percent of it, evenly spread.
    reg running;
    reg [31:0] cycle;
    reg [7:0] phase;
    wire [31:0] music = field(REQUEST_MUSIC);
    wire owned = running && phase + music >= 100;
    wire [7:0] phase_next = owned ? 8'(phase + music - 100) : 8'(phase + music);
    wire owned_next = running && phase_next + music >= 100;
    assign wave = running && cycle >= field(REQUEST_WAVE_FIRST) && cycle <= field(REQUEST_WAVE_LAST);
    assign busy = go != finished;

    // The mailbox.
    reg [CSR_ADDRESS_BITS-1:0] csr_addr;
    reg csr_r_stb, csr_w_stb;
    reg [31:0] csr_w_data;
    wire [31:0] csr_r_data;
    wire dram_idle;
    wire [31:0] refused;

    always @(posedge clk) begin
        csr_r_stb <= 0;
        csr_w_stb <= 0;
        if (running) begin
            cycle <= cycle + 1;
            phase <= phase_next;
        end
        case (state)
            RESET: begin
                rst <= 1;
                step <= step + 1;
                if (step == RESET_CYCLES) begin
                    rst <= 0;
                    state <= result[32*RESULT_FLAGS] ? FINISH : IDLE;  // after a job that hung, or at first
                end
            end
            IDLE: if (busy) begin
                step <= 0;
                result <= 0;
                case (field(REQUEST_OPERATION))
                    OPERATION_PROBE: state <= READ;
                    OPERATION_RUN: state <= DRAIN;
                    OPERATION_LOAD: begin
                        memory.load(LOAD_FILE, field(REQUEST_ADDRESS), field(REQUEST_BYTES));
                        state <= FINISH;
                    end
                    OPERATION_DUMP: begin
                        memory.dump(DUMP_FILE, field(REQUEST_ADDRESS), field(REQUEST_BYTES));
                        state <= FINISH;
                    end
                    default: $fatal(1, "bench: request of unknown operation %0d", field(REQUEST_OPERATION));
                endcase
            end
            DRAIN: if (dram_idle) state <= WRITE;
            WRITE: begin
                csr_w_stb <= 1;
                csr_addr <= CSR_ADDRESS_BITS'(field(REQUEST_WRITE + 2 * step));
                csr_w_data <= field(REQUEST_WRITE + 2 * step + 1);
                step <= step + 1;
                if (step == field(REQUEST_WRITES) - 1) begin
                    running <= 1;
                    cycle <= 0;
                    phase <= 0;
                    state <= RUN;
                end
            end
            RUN: if (interrupt || cycle == field(REQUEST_LIMIT)) begin
                running <= 0;
                step <= 0;
                result[32*RESULT_CYCLE +: 32] <= cycle;
                result[32*RESULT_FLAGS] <= !interrupt;
                state <= interrupt ? READ : RESET;
            end
            READ: begin
                csr_r_stb <= 1;
                csr_addr <= CSR_ADDRESS_BITS'(READ_REGISTERS[step]);
                state <= SETTLE;
            end
            SETTLE: state <= SAMPLE;
            SAMPLE: begin
                result[32*(RESULT_REGISTER + step) +: 32] <= csr_r_data;
                step <= step + 1;
                state <= step == READS - 1 ? CLEAR : READ;
            end
            CLEAR: begin
                csr_w_stb <= 1;
                csr_addr <= CSR_ADDRESS_BITS'(CSR_INTERRUPT);
                csr_w_data <= 1;
                state <= FINISH;
            end
            FINISH: begin
                result[32*RESULT_EVENTS +: 32] <= events;
                result[32*RESULT_ACCESSES +: 32] <= refused;
                finished <= go;
                state <= IDLE;
                $fflush(event_file);
            end
        endcase
    end

    // The event log: 16 bytes a record, the file written again from its start by each job.
    localparam bit [7:0] START = 0, DONE = 1;
    wire [ENGINES-1:0] trace_start, trace_done;
    wire [24*ENGINES-1:0] trace_index;
    wire [32*ENGINES-1:0] trace_value;
    int event_file;
    reg [31:0] events;

    initial event_file = $fopen(EVENT_FILE, "wb");

    task automatic log_event(input int engine, input [7:0] kind, input [31:0] value);
        $fwrite(event_file, "%u", {16'b0, kind, 8'(engine), 8'b0, trace_index[24*engine +: 24], value, cycle});
        events = events + 1;
    endtask

    always @(posedge clk) begin
        if (state == DRAIN) begin
            if ($rewind(event_file) != 0) $fatal(1, "bench: cannot write %s", EVENT_FILE);
            events = 0;
        end
        if (running && (trace_start != 0 || trace_done != 0))
            for (int engine = 0; engine < ENGINES; engine++) begin
                if (trace_start[engine]) log_event(engine, START, 0);
                if (trace_done[engine]) log_event(engine, DONE, trace_value[32*engine +: 32]);
            end
    end

    wire [31:0] araddr, awaddr;
    wire [7:0] arlen, awlen;
    wire [2:0] arsize, awsize;
    wire [1:0] arburst, awburst, rresp, bresp;
    wire arvalid, arready, rlast, rvalid, rready, awvalid, awready, wlast, wvalid, wready, bvalid, bready;
    wire [BUS_BITS-1:0] rdata, wdata;
    wire [BUS_BITS/8-1:0] wstrb;

    npu core (
        .clk, .rst, .interrupt,
        .csr__addr(csr_addr), .csr__r_stb(csr_r_stb), .csr__r_data(csr_r_data),
        .csr__w_stb(csr_w_stb), .csr__w_data(csr_w_data),
        .axi_read__araddr(araddr), .axi_read__arlen(arlen), .axi_read__arsize(arsize), .axi_read__arburst(arburst),
        .axi_read__arvalid(arvalid), .axi_read__arready(arready), .axi_read__rdata(rdata), .axi_read__rresp(rresp),
        .axi_read__rlast(rlast), .axi_read__rvalid(rvalid), .axi_read__rready(rready),
        .axi_write__awaddr(awaddr), .axi_write__awlen(awlen), .axi_write__awsize(awsize), .axi_write__awburst(awburst),
        .axi_write__awvalid(awvalid), .axi_write__awready(awready), .axi_write__wdata(wdata), .axi_write__wstrb(wstrb),
        .axi_write__wlast(wlast), .axi_write__wvalid(wvalid), .axi_write__wready(wready),
        .axi_write__bresp(bresp), .axi_write__bvalid(bvalid), .axi_write__bready(bready),
        .trace__start(trace_start), .trace__done(trace_done), .trace__index(trace_index), .trace__value(trace_value)
    );

    dram #(.BUS_BITS(BUS_BITS), .MEMORY_BYTES(MEMORY_BYTES)) memory (
        .clk, .rst, .latency(16'(field(REQUEST_LATENCY))), .owned, .owned_next, .idle(dram_idle), .refused,
        .araddr, .arlen, .arsize, .arburst, .arvalid, .arready, .rdata, .rresp, .rlast, .rvalid, .rready,
        .awaddr, .awlen, .awsize, .awburst, .awvalid, .awready, .wdata, .wstrb, .wlast, .wvalid, .wready,
        .bresp, .bvalid, .bready
    );
endmodule
