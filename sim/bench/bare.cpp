// The same bench with no Python and no VPI: the speed that cocotb is measured against.
// usage: bare REQUESTS, a file or pipe of them; answers each by "CYCLE SECONDS", CYCLE being the job's last.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "Vtop.h"
#include "verilated.h"

double sc_time_stamp() { return 0; }

constexpr int RESULT_CYCLE = 2;

int main(int argc, char** argv) {
    Verilated::commandArgs(argc, argv);
    auto top = std::make_unique<Vtop>("");
    std::FILE* const requests = argc > 1 ? std::fopen(argv[1], "rb") : nullptr;
    if (!requests) {
        std::fputs("bare: cannot read the file of requests\n", stderr);
        return 2;
    }
    top->eval();
    while (std::fread(top->request.data(), sizeof(top->request), 1, requests) == 1) {
        const auto begin = std::chrono::steady_clock::now();
        top->go = !top->go;
        top->eval();
        while (top->busy) {
            top->clk = 1;
            top->eval();
            top->clk = 0;
            top->eval();
        }
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
        std::printf("%u %.9f\n", top->result[RESULT_CYCLE], seconds.count());
        std::fflush(stdout);
    }
    top->final();
    return 0;
}
