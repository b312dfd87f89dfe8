"""The co-simulation harness: a passing test passes, a failing one raises, the second build is cached."""

import cosim
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

pytestmark = pytest.mark.rtl


class Register(wiring.Component):
    """One stage; `broken` inverts."""

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def __init__(self, *, broken: bool = False):
        self.broken = broken
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.i.ready.eq(self.o.ready)
        m.d.sync += self.o.valid.eq(self.i.valid)
        m.d.sync += self.o.payload.eq(~self.i.payload if self.broken else self.i.payload)
        return m


def test_passes(tmp_path):
    cosim.run(Register(), "echo_cosim", {"words": [1, 2, 250]}, tmp_path)


def test_fails_on_a_broken_component(tmp_path):
    with pytest.raises(cosim.CosimError, match="250"):
        cosim.run(Register(broken=True), "echo_cosim", {"words": [1, 2, 250]}, tmp_path)


def test_build_is_cached():
    source = cosim.verilog(Register())
    built = cosim.build(source) / "built"
    before = built.stat().st_mtime_ns
    assert cosim.build(source) / "built" == built
    assert built.stat().st_mtime_ns == before
