"""cocotb side of test_cosim: a stream register gives back, in order, what it took."""

import cocotb
import cosim
from cocotb.triggers import ReadOnly, RisingEdge


@cocotb.test()
async def echo(dut):
    words = cosim.parameters()["words"]
    dut.i__valid.value = 0
    dut.o__ready.value = 1
    await cosim.start_clock(dut)
    got = []
    for word in words:
        dut.i__valid.value = 1
        dut.i__payload.value = word
        await RisingEdge(dut.clk)
        await ReadOnly()
        if dut.o__valid.value == 1:
            got.append(int(dut.o__payload.value))
        await RisingEdge(dut.clk)
        dut.i__valid.value = 0
    assert got == words, f"{got} is not {words}"
