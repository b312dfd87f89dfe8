// The simulation loop under cocotb. While a job is under way the clock runs here, and Python sleeps; the VPI is served
// only between jobs. In other respects the loop is that of cocotb's share/lib/verilator/verilator.cpp.
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "Vtop.h"
#include "verilated.h"
#include "verilated_vpi.h"
#if VM_TRACE_FST
#include "verilated_fst_c.h"
using Trace = VerilatedFstC;
#elif VM_TRACE
#include "verilated_vcd_c.h"
using Trace = VerilatedVcdC;
#endif

extern "C" void vlog_startup_routines_bootstrap();

static uint64_t now = 0;
static uint64_t cycles = 0;
double sc_time_stamp() { return now; }

static bool settle() {
    bool called = false;
    while (VerilatedVpi::callValueCbs()) called = true;
    return called;
}

static void python_turn(Vtop& top) {
    do {
        do {
            top.eval_step();
            VerilatedVpi::clearEvalNeeded();
            VerilatedVpi::doInertialPuts();
            settle();
        } while (VerilatedVpi::evalNeeded());
        VerilatedVpi::callCbs(cbReadWriteSynch);
        VerilatedVpi::doInertialPuts();
        settle();
    } while (VerilatedVpi::evalNeeded());
    top.eval_end_step();
    VerilatedVpi::callCbs(cbReadOnlySynch);
}

// Whether the other end of the connection is closed. Python would notice after the job; a host that was killed in
// the middle of one must not leave a simulator behind that runs to the watchdog.
static bool host_has_left() {
    static const char* const link = std::getenv("OSSICLE_LINK");
    if (link == nullptr) return false;
    pollfd end{std::atoi(link), 0, 0};
    return poll(&end, 1, 0) == 1 && (end.revents & (POLLHUP | POLLERR)) != 0;
}

// Destructors would wait for threads that a copy of the process has not got.
[[noreturn]] static void leave(int status) {
    std::fflush(nullptr);
    _exit(status);
}

constexpr uint64_t CHECK_CYCLES = 1 << 16;

int main(int argc, char** argv) {
    Verilated::commandArgs(argc, argv);
    auto top = std::make_unique<Vtop>("");
    Verilated::fatalOnVpiError(false);
#if VM_TRACE
    Trace trace;
    Verilated::traceEverOn(true);
    top->trace(&trace, 99);
    const char* const wave_path = Verilated::commandArgsPlusMatch("waves=");
    trace.open(std::strlen(wave_path) ? wave_path + std::strlen("+waves=") : "/dev/null");
#endif

    vlog_startup_routines_bootstrap();
    VerilatedVpi::callCbs(cbStartOfSimulation);
    settle();

    while (!Verilated::gotFinish()) {
        python_turn(*top);
        if (top->busy) {
            while (top->busy && !Verilated::gotFinish()) {
                top->clk = 1;
                top->eval();
#if VM_TRACE
                if (top->wave) trace.dump(now);
#endif
                ++now;
                if (++cycles % CHECK_CYCLES == 0 && host_has_left()) leave(1);
                top->clk = 0;
                top->eval();
#if VM_TRACE
                if (top->wave) trace.dump(now);
#endif
                ++now;
            }
#if VM_TRACE
            trace.flush();
#endif
        } else {
            const uint64_t next = VerilatedVpi::cbNextDeadline();
            if (next == ~0ULL) break;  // Python waits for nothing: it has ended
            now = std::max(now, next);
        }
        VerilatedVpi::callCbs(cbNextSimTime);
        settle();
        VerilatedVpi::callTimedCbs();
        settle();
    }
    top->final();
    VerilatedVpi::callCbs(cbEndOfSimulation);
#if VM_TRACE
    trace.close();
#endif
    leave(Verilated::threadContextp()->errorCount() > 0);
}
