// Behavioural memory behind an AXI4 port, one transaction ID, in order.
//
// Read: a burst accepted in cycle a gives its first beat in cycle a + 1 + latency or later; one beat a cycle; the first
// beat of the next burst may follow the last beat directly. 16 bursts may wait; one whose last beat is on the bus waits
// no more. No beat is given in a cycle that the competitor owns.
// Write: data are taken in every cycle that the competitor does not own; the response comes latency + 1 cycles after the
// last data beat. Data are in the memory in the cycle after their beat.
// A beat beyond the memory reads as zero, writes nothing, and is answered SLVERR.
module dram #(
    parameter int BUS_BITS = 64,
    parameter int MEMORY_BYTES = 1 << 24
) (
    input clk,
    input rst,
    input [15:0] latency,
    input owned,       // the competitor owns this cycle
    input owned_next,  // it will own the next one
    output idle,       // nothing is under way
    output reg [31:0] refused,

    input [31:0] araddr,
    input [7:0] arlen,
    input [2:0] arsize,
    input [1:0] arburst,
    input arvalid,
    output reg arready,
    output reg [BUS_BITS-1:0] rdata,
    output reg [1:0] rresp,
    output reg rlast,
    output reg rvalid,
    input rready,

    input [31:0] awaddr,
    input [7:0] awlen,
    input [2:0] awsize,
    input [1:0] awburst,
    input awvalid,
    output awready,
    input [BUS_BITS-1:0] wdata,
    input [BUS_BITS/8-1:0] wstrb,
    input wlast,
    input wvalid,
    output wready,
    output reg [1:0] bresp,
    output reg bvalid,
    input bready
);
    localparam int BYTES = BUS_BITS / 8;
    localparam int SHIFT = $clog2(BYTES);
    localparam int WORDS = MEMORY_BYTES / BYTES;
    localparam int DEPTH = 16;
    localparam [2:0] SIZE = 3'(SHIFT);

    reg [BUS_BITS-1:0] mem [WORDS];

    function automatic bit held(input [31:0] address);
        return address < MEMORY_BYTES;
    endfunction

    function automatic [31:0] word(input [31:0] address);
        return address >> SHIFT;
    endfunction

    reg [63:0] now;
    always @(posedge clk) now <= rst ? 0 : now + 1;

    // Reads.
    reg [31:0] read_address [DEPTH];
    reg [8:0] read_beats [DEPTH];
    reg [63:0] read_due [DEPTH];
    reg [3:0] read_head;
    reg [4:0] read_count;

    always @(posedge clk) begin
        if (rst) begin
            read_head = 0;
            read_count = 0;
            arready <= 0;
            rvalid <= 0;
            refused <= 0;
        end else begin
            if (rvalid && !rready) $fatal(1, "bench: rready is low during a beat; the processor must take every beat");
            if (arvalid && arready) begin
                if (arsize != SIZE || arburst != 1 || araddr[SHIFT-1:0] != 0)
                    $fatal(1, "bench: read burst at 0x%0h is not whole bus words, incrementing", araddr);
                read_address[read_head + read_count[3:0]] = araddr;
                read_beats[read_head + read_count[3:0]] = {1'b0, arlen} + 1;
                read_due[read_head + read_count[3:0]] = now + 1 + latency;
                read_count = read_count + 1;
                if (!held(araddr + {24'b0, arlen} * BYTES)) refused <= refused + 1;
            end
            rvalid <= 0;
            if (read_count != 0 && read_due[read_head] <= now + 1 && !owned_next) begin
                rvalid <= 1;
                rdata <= held(read_address[read_head]) ? mem[word(read_address[read_head])] : 0;
                rresp <= held(read_address[read_head]) ? 0 : 2;
                rlast <= read_beats[read_head] == 1;
                read_address[read_head] = read_address[read_head] + BYTES;
                read_beats[read_head] = read_beats[read_head] - 1;
                if (read_beats[read_head] == 0) begin
                    read_head = read_head + 1;
                    read_count = read_count - 1;
                end
            end
            arready <= read_count != DEPTH;
        end
    end

    // Writes.
    reg [31:0] write_address [DEPTH];
    reg [8:0] write_beats [DEPTH];
    reg [3:0] write_head;
    reg [4:0] write_count;
    reg write_error;
    reg [63:0] answer_due [DEPTH];
    reg answer_error [DEPTH];
    reg [3:0] answer_head;
    reg [4:0] answer_count;

    assign awready = 1;
    assign wready = !owned;
    assign idle = read_count == 0 && write_count == 0 && answer_count == 0 && !bvalid && !rvalid;

    always @(posedge clk) begin
        if (rst) begin
            write_head = 0;
            write_count = 0;
            write_error = 0;
            answer_head = 0;
            answer_count = 0;
            bvalid <= 0;
        end else begin
            if (awvalid) begin
                if (awsize != SIZE || awburst != 1 || awaddr[SHIFT-1:0] != 0)
                    $fatal(1, "bench: write burst at 0x%0h is not whole bus words, incrementing", awaddr);
                if (write_count + answer_count >= DEPTH) $fatal(1, "bench: more than 16 write bursts under way");
                write_address[write_head + write_count[3:0]] = awaddr;
                write_beats[write_head + write_count[3:0]] = {1'b0, awlen} + 1;
                write_count = write_count + 1;
            end
            if (wvalid && wready) begin
                if (write_count == 0) $fatal(1, "bench: write data before their address");
                if (wlast != (write_beats[write_head] == 1)) $fatal(1, "bench: wlast is not on the last beat");
                if (held(write_address[write_head])) begin
                    for (int b = 0; b < BYTES; b++)
                        if (wstrb[b]) mem[word(write_address[write_head])][8*b +: 8] = wdata[8*b +: 8];
                end else write_error = 1;
                write_address[write_head] = write_address[write_head] + BYTES;
                write_beats[write_head] = write_beats[write_head] - 1;
                if (wlast) begin
                    answer_due[answer_head + answer_count[3:0]] = now + 1 + latency;
                    answer_error[answer_head + answer_count[3:0]] = write_error;
                    answer_count = answer_count + 1;
                    write_error = 0;
                    write_head = write_head + 1;
                    write_count = write_count - 1;
                end
            end
            if (bready) bvalid <= 0;
            if ((!bvalid || bready) && answer_count != 0 && answer_due[answer_head] <= now + 1) begin
                bvalid <= 1;
                bresp <= answer_error[answer_head] ? 2 : 0;
                answer_head = answer_head + 1;
                answer_count = answer_count - 1;
            end
        end
    end

    // Host access, in no simulated time. Files hold the memory's bytes in order; $fread fills a word from its top.
    task automatic load(input string name, input [31:0] address, input [31:0] bytes);
        int file = $fopen(name, "rb");
        reg [BUS_BITS-1:0] bits;
        reg [31:0] last = address + bytes;
        if (file == 0) $fatal(1, "bench: cannot read %s", name);
        for (bit [31:0] at = address & ~(BYTES - 1); at < last; at = at + BYTES) begin
            if ($fread(bits, file) == 0) $fatal(1, "bench: %s is too short", name);
            for (int b = 0; b < BYTES; b++)
                if (at + b >= address && at + b < last) mem[word(at)][8*b +: 8] = bits[8*(BYTES-1-b) +: 8];
        end
        $fclose(file);
    endtask

    task automatic dump(input string name, input [31:0] address, input [31:0] bytes);
        int file = $fopen(name, "wb");
        if (file == 0) $fatal(1, "bench: cannot write %s", name);
        for (bit [31:0] at = address & ~(BYTES - 1); at < address + bytes; at = at + BYTES)
            $fwrite(file, "%u", mem[word(at)]);
        $fclose(file);
    endtask
endmodule
