"""Random programs: legal, reproducible, and of one result in every order that tokens and queues allow."""

from collections import Counter, deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ossicle.hw.config import PRESETS
from ossicle.hw.isa import TOKEN_MAX, Engine, Opcode
from ossicle.sim.functional import FunctionalDevice
from ossicle.sim.functional_chip import EXECUTE, ChipState, Job
from ossicle.sim.random_programs import DATA, ENTRY, random_program
from ossicle.sim.random_tokens import Access, Draft, TokenPlacer

TINY = PRESETS["small"].replace(
    weight_words=16, accumulators=4, activation_words=8, vector_words=8, parameter_words=8, queue_depth=2
)
CONFIGS = {**PRESETS, "tiny": TINY}


def any_order(made, config, rng):
    """The data after a run in which engines take a random time over each instruction.

    An instruction takes effect as a whole at a random moment between its start and its end.
    """
    program = made.program
    dram = np.zeros(program.dram_bytes, np.uint8)
    dram[: len(program.image)] = np.frombuffer(program.image, np.uint8)
    symbol = program.symbols[DATA]
    dram[symbol.address :][: symbol.count] = made.data.view(np.uint8)
    arguments = [made.arguments.get(n, 0) for n in range(8)]
    chip, windows = ChipState.cleared(config), program.windows
    job = Job(dram, arguments, (windows.read0, windows.read1), windows.write)
    run = AnyOrder(program.instructions(ENTRY), chip, job, config.queue_depth, rng)
    while not run.ended:
        run.step()
    return dram[symbol.address :][: symbol.count].view(np.int8), run


class AnyOrder:
    """Sequencer, queues and engines without time: each step one of the events that may come next."""

    def __init__(self, code, chip, job, depth, rng):
        self.code, self.chip, self.job, self.depth, self.rng = code, chip, job, depth, rng
        self.tokens = Counter()
        self.queues = {e: deque() for e in Engine if e != Engine.CONTROL}
        self.running = {}
        self.next = 0
        self.ended = False
        self.most_running = 0
        # Some engines are faster than others, from run to run.
        self.speed = rng.random(len(Engine)) ** 2 + 0.01

    def step(self):
        events = [(self.finish, e) for e in self.running]
        events += [(self.start, e) for e in self.queues if self.may_start(e)]
        if self.may_dispatch():
            events.append((self.dispatch, Engine.CONTROL))
        assert events, f"deadlock at instruction {self.next}"
        weights = np.array([self.speed[e] for _, e in events])
        event, engine = events[self.rng.choice(len(events), p=weights / weights.sum())]
        event(engine)

    def tokens_there(self, made):
        return all(self.tokens[giver, made.engine] for giver in made.wait)

    def take(self, made):
        self.tokens.subtract((giver, made.engine) for giver in made.wait)

    def give(self, made):
        self.tokens.update((made.engine, taker) for taker in made.signal)
        assert max(self.tokens.values(), default=0) <= TOKEN_MAX

    def may_start(self, engine):
        queue = self.queues[engine]
        return engine not in self.running and queue and self.tokens_there(queue[0])

    def may_dispatch(self):
        made = self.code[self.next]
        if made.opcode == Opcode.END:
            return not self.running and not any(self.queues.values())
        if made.opcode == Opcode.SKIP:
            return self.tokens_there(made)
        return len(self.queues[made.engine]) < self.depth

    def dispatch(self, _):
        made = self.code[self.next]
        self.next += 1
        if made.opcode == Opcode.END:
            self.ended = True
        elif made.opcode == Opcode.SKIP:
            self.take(made)
            self.next += made["count"] if self.chip.predicates[made["predicate"]] == made["sense"] else 0
            self.give(made)
        else:
            self.queues[made.engine].append(made)

    def start(self, engine):
        made = self.queues[engine].popleft()
        self.take(made)
        late = bool(self.rng.integers(2))
        self.running[engine] = made, late
        self.most_running = max(self.most_running, len(self.running))
        if not late:
            EXECUTE[made.opcode](self.chip, made, self.job)

    def finish(self, engine):
        made, late = self.running.pop(engine)
        if late:
            EXECUTE[made.opcode](self.chip, made, self.job)
        self.give(made)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_order_gives_the_result_of_program_order(name):
    config, most = CONFIGS[name], 0
    for seed in range(8):
        made = random_program(seed, config)
        expected = made.run_on(FunctionalDevice(config))
        for order in range(4):
            got, run = any_order(made, config, np.random.default_rng([seed, order]))
            assert np.array_equal(got, expected), f"seed {seed}, order {order}"
            most = max(most, run.most_running)
    assert most >= 3


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_any_seed(seed):
    config = PRESETS["small"]
    made = random_program(seed, config, length=100)
    expected = made.run_on(FunctionalDevice(config))
    assert np.array_equal(any_order(made, config, np.random.default_rng(seed))[0], expected)


def test_a_missing_token_shows():
    """The order test is worth something: without its tokens a program depends on the order."""
    config, differ = PRESETS["small"], 0
    for seed in range(4):
        made = random_program(seed, config)
        expected = made.run_on(FunctionalDevice(config))
        _, run = any_order(made, config, np.random.default_rng(seed))
        chip, rng = ChipState.cleared(config), np.random.default_rng(1)
        run = AnyOrder(run.code, chip, run.job, config.queue_depth, rng)
        run.tokens_there = lambda made: True
        run.take = run.give = lambda made: None
        symbol = made.program.symbols[DATA]
        data = run.job.dram[symbol.address :][: symbol.count].view(np.int8)
        data[:] = made.data
        while not run.ended:
            run.step()
        differ += not np.array_equal(data, expected)
    assert differ


def test_same_seed_same_program():
    one, two, three = (random_program(seed, PRESETS["base"]) for seed in (7, 7, 8))
    assert one.program.to_bytes() == two.program.to_bytes() != three.program.to_bytes()
    assert one.arguments == two.arguments and np.array_equal(one.data, two.data)


def test_programs_use_everything():
    seen, operands, names = Counter(), set(), {"target", "function", "accumulate", "sense"}
    for seed in range(12):
        for made in random_program(seed, PRESETS["base"]).program.instructions(ENTRY):
            seen[made.opcode] += 1
            seen["wait"] += len(made.wait)
            operands |= {(made.opcode, name, made[name]) for name in names & made.operands.keys()}
    assert seen.keys() >= set(Opcode)
    assert len(operands) == 3 + 2 + 2 + 2 + 4 + 4 + 2 + 2
    # Few enough that engines overlap.
    assert seen["wait"] < sum(seen[op] for op in Opcode)


def draft(opcode, reads=(), writes=()):
    return Draft(opcode, {}, [Access("m", *a) for a in reads], [Access("m", *a) for a in writes])


class TestTokenPlacer:
    def place(self, *drafts):
        placer = TokenPlacer()
        for made in drafts:
            placer.place(made)
        return placer.instructions()

    def test_write_then_read(self):
        load, mac = self.place(draft(Opcode.LOAD, writes=[(0, 4)]), draft(Opcode.MAC, reads=[(3, 2)]))
        assert (load.signal, mac.wait) == ({Engine.MAC}, {Engine.LOAD})

    def test_no_overlap_no_token(self):
        load, mac = self.place(draft(Opcode.LOAD, writes=[(0, 4)]), draft(Opcode.MAC, reads=[(4, 2)]))
        assert not load.signal and not mac.wait

    def test_two_reads_need_no_order(self):
        store, mac = self.place(draft(Opcode.STORE, reads=[(0, 4)]), draft(Opcode.MAC, reads=[(0, 4)]))
        assert not store.signal and not mac.wait

    def test_read_then_write(self):
        mac, load = self.place(draft(Opcode.MAC, reads=[(0, 4)]), draft(Opcode.LOAD, writes=[(0, 1)]))
        assert (mac.signal, load.wait) == ({Engine.LOAD}, {Engine.MAC})

    def test_what_is_known_through_another_engine_needs_no_token(self):
        load, _, vector = self.place(
            draft(Opcode.LOAD, writes=[(0, 4)]),
            draft(Opcode.MAC, reads=[(0, 4)], writes=[(8, 1)]),
            draft(Opcode.LSTM, reads=[(0, 4), (8, 1)]),
        )
        assert load.signal == {Engine.MAC}
        assert vector.wait == {Engine.MAC}

    def test_one_engine_keeps_its_order(self):
        one, two = self.place(draft(Opcode.LOAD, writes=[(0, 4)]), draft(Opcode.LOAD, writes=[(0, 4)]))
        assert not one.signal and not two.wait

    def test_a_barrier_keeps_counters_low(self):
        """Twenty loads might all end before the first MAC starts."""
        loads = [draft(Opcode.LOAD, writes=[(n, 1)]) for n in range(20)]
        code = self.place(*loads, *[draft(Opcode.MAC, reads=[(n, 1)]) for n in range(20)])
        assert sum(made.opcode == Opcode.SKIP for made in code) == 1
        assert sum(Engine.MAC in made.signal for made in code) < TOKEN_MAX
