"""What nobody reads or calls goes away."""

from graphs import HEADER, apply, ops, parse

from amct_lite.passes.remove_dead import run


def test_unread_chain_and_its_weights_go_away():
    text = "g (float[2] x, float[2] w) => (float[2] y) { y = Relu(x)  a = Add(x, w)  b = Neg(a) }"
    after, report = apply(run, parse(text, "w"))
    assert (ops(after), list(after.graph.initializers), report.changed) == (["Relu"], [], 3)


def test_value_read_only_by_a_body_stays():
    text = """g (float[2] x, bool q) => (float[2] y) {
        c = Exp(x)
        y = branches_on(c)
    }"""
    _, report = apply(run, parse(text))
    assert report.changed == 0


def test_what_only_a_dead_if_captures_goes_with_it():
    text = """g (float[2] x, bool q) => (float[2] y) {
        y = Relu(x)
        c = Exp(x)
        z = branches_on(c)
    }"""
    after, report = apply(run, parse(text))
    assert (ops(after), report.changed) == (["Relu"], 2)


def test_unread_input_of_the_model_stays():
    after, _ = apply(run, parse("g (float[2] x, float[2] z) => (float[2] y) { y = Relu(x) }"))
    assert [value.name for value in after.graph.inputs] == ["x", "z"]


def test_uncalled_function_goes_and_a_called_one_stays():
    functions = """
    <domain: "custom", opset_import: ["": 17, "custom": 1]> outer (a) => (b) { b = custom.inner(a) }
    <domain: "custom", opset_import: ["": 17]> inner (a) => (b) { b = Relu(a) }
    <domain: "custom", opset_import: ["": 17]> unused (a) => (b) { b = Neg(a) }"""
    after, _ = apply(run, parse("g (float[2] x) => (float[2] y) { y = custom.outer(x) }" + functions, header=HEADER))
    assert sorted(function.name for function in after.functions.values()) == ["inner", "outer"]
