"""What CPython 3.12 to 3.15 brought that can refer to an object: more of world.containers.  A text is
run from its version on, as older ones cannot compile it."""
import sys

TEXTS = {
    (3, 12): """
import gc, itertools, types, typing

type Alias[T: thing] = (thing, T)
add("type alias", Alias, lambda o: o.__value__[0])
add("bound of an alias's variable", Alias.__type_params__[0], lambda o: o.__bound__)
add("subscripted alias", Alias[thing], lambda o: o.__args__[0])
add("alias made by a call", typing.TypeAliasType("A", thing), lambda o: o.__value__)
add("parameters of an alias", typing.TypeAliasType(
    "A", 1, type_params=(typing.TypeVar("T", bound=thing),)), lambda o: o.__type_params__[0].__bound__)
add("parameter specification", typing.ParamSpec("P", bound=thing), lambda o: o.__bound__)
add("constraints", typing.TypeVar("T", int, thing), lambda o: o.__constraints__[1])
add("attribute of a TypeVarTuple", made(typing.TypeVarTuple, "Ts", thing=thing), attribute)
add("unpacked", typing.Unpack[typing.Tuple[thing]], lambda o: o.__args__[0].__args__[0])
add("batched", itertools.batched(itertools.repeat(thing), 2), lambda o: next(o)[0])

# Not evaluated when the references are rewritten: what does it holds the cell.
def unread(x):
    type A = x
    def bound[T: x](): pass
    def constraints[T: (x, int)](): pass
    return A, bound.__type_params__[0], constraints.__type_params__[0]
alias, bound, constraints = unread(thing)
later("unread alias", alias, lambda o: o.__value__)
later("unread bound", bound, lambda o: o.__bound__)
later("unread constraints", constraints, lambda o: o.__constraints__[0])

def generic[T](x: T = thing):
    return x
add("default of a generic function", generic, lambda o: o())
class Generic[T: thing]:
    pass
add("bound of a generic class", Generic, lambda o: o.__type_params__[0].__bound__)
add("bases of a generic class", types.get_original_bases(Generic),
    lambda o: o[0].__args__[0].__bound__)
class Buffer:
    def __buffer__(self, flags):
        return memoryview(b"x")
add("exporter of a buffer", memoryview(made(Buffer, thing=thing)),
    lambda o: next(x.thing for x in gc.get_referents(o.obj) if hasattr(x, "thing")))
""",
    (3, 13): """
import typing, warnings

def defaults[T = thing, *Ts = [thing], **P = [thing]]():
    pass
first, second, third = defaults.__type_params__
add("default of a type variable", first, lambda o: o.__default__)
add("default of a TypeVarTuple", second, lambda o: o.__default__[0])
add("default of a ParamSpec", third, lambda o: o.__default__[0])
add("default given in a call", typing.TypeVar("T", default=thing), lambda o: o.__default__)
def unread_default(x):
    def f[T = x](): pass
    return f.__type_params__[0]
later("unread default", unread_default(thing), lambda o: o.__default__)
add("deprecated", warnings.deprecated("x")(lambda x=thing: x), lambda o: o.__wrapped__())
add("locals()", (lambda local: locals())(thing), lambda o: o["local"])

def suspended(local):
    yield
def stopped():
    generator = suspended(thing)
    next(generator)
    return generator
add("view of a frame's locals", (stopped(),), lambda o: o[0].gi_frame.f_locals["local"])
holder = stopped()
add("kept view of locals", (holder, holder.gi_frame.f_locals), lambda o: o[1]["local"])
holder = suspended(1)
next(holder)
holder.gi_frame.f_locals["extra"] = thing
add("extra local", (holder, holder.gi_frame.f_locals), lambda o: o[1]["extra"])
""",
    (3, 14): """
import annotationlib, contextvars, functools, typing
from string.templatelib import Interpolation, Template

add("template", Template(Interpolation(thing)), lambda o: o.interpolations[0].value)
add("template string", t"a{thing}b", lambda o: o.values[0])
later("iterator of a template", iter(t"{thing}b"), lambda o: next(o).value)
add("interpolation", Interpolation(thing, "thing", None, ""), lambda o: o.value)
add("placeholder", functools.partial(print, functools.Placeholder, thing, 1), lambda o: o.args[1])

def annotate(x):
    def f(a: x, b: list[x]) -> x: pass
    def g(a: x): pass
    def unknown(a: missing[x]): pass
    class C:
        a: x
    class Asked:
        a: x
    return f, g, unknown, C, Asked
f, g, unknown, C, Asked = annotate(thing)
later("annotations", f, lambda o: o.__annotations__["b"].__args__[0])
add("function of annotations", g.__annotate__, lambda o: o(1)["a"])
add("function of a class's annotations", C.__annotate__, lambda o: o(1)["a"])
later("class's annotations", C, lambda o: o.__annotations__["a"])
add("class's annotations, asked for", Asked, lambda o: o.__annotations__["a"])
forward = annotationlib.get_annotations(unknown, format=annotationlib.Format.FORWARDREF)["a"]
add("forward reference", forward, lambda o: o.evaluate(globals={"missing": list}).__args__[0])
add("owner of a forward reference", annotationlib.ForwardRef("x", owner=thing),
    lambda o: o.__owner__)
add("constant evaluator", typing.TypeVar("T", bound=thing).evaluate_bound, lambda o: o(1))
add("union", list[thing] | int, lambda o: o.__args__[0].__args__[0])
add("union of what has no hash", list[[thing]] | int, lambda o: o.__args__[0].__args__[0][0])

variable = contextvars.ContextVar("entered")
def entering():
    variable.set(thing)
    with variable.set(1) as token:
        yield token
        yield token
entered = entering()
next(entered)
later("token that is entered", entered, lambda o: next(o).old_value)
""",
    (3, 15): """
add("frozendict", frozendict({"a": thing}), lambda o: o["a"])
add("frozendict's key", frozendict({thing: 1}), lambda o: next(iter(o)))
add("frozendict as key", {frozendict({"a": thing}): 1}, lambda o: next(iter(o))["a"])
add("frozendict as key, of tuples", {frozendict({(thing, 1): 2}): 1},
    lambda o: next(iter(next(iter(o))))[0])
add("attribute of a frozendict", made(type("F", (frozendict,), {}), thing=thing), attribute)
""",
}


def add_to(names):
    """`names`: what a text finds: thing, add, later, made, attribute."""
    for version, text in TEXTS.items():
        if sys.version_info >= version:
            exec(compile(text, "<newer %d.%d>" % version, "exec"), dict(names))
