"""References that C code holds and no traversal shows: rewritten where they are known to be counted
references, else named; none is merely counted."""
import pytest

SURVEY = '''
import datetime, functools, gc, io, itertools, operator, pickle, sqlite3, sys
import pyhot

V = sys.version_info[1]
HOLDERS = {}

def holder(function):
    HOLDERS[function.__name__] = function

class Zone(datetime.tzinfo):
    def utcoffset(self, when): return datetime.timedelta(0)
    def dst(self, when): return None
    def tzname(self, when): return "zone"
    def __call__(self, *arguments): return 0
    def __index__(self): return 1

def connect(): return sqlite3.connect(":memory:")

@holder
def aware(x): return datetime.datetime(2000, 1, 1, tzinfo=x)
@holder
def aware_time(x): return (datetime.time(1, tzinfo=x), datetime.time(1))
@holder
def nested(x): return {"a": [(datetime.datetime(2000, 1, 1, tzinfo=x),)]}
@holder
def key_function(x): return functools.cmp_to_key(x)
@holder
def compared(x): return functools.cmp_to_key(lambda a, b: 0)(x)
@holder
def row_factory(x): c = connect(); c.row_factory = x; return c
@holder
def text_factory(x): c = connect(); c.text_factory = x; return c
@holder
def cursor(x): c = connect().cursor(); c.row_factory = x; return c
@holder
def authorizer(x): c = connect(); c.set_authorizer(x); return c
@holder
def progress(x): c = connect(); c.set_progress_handler(x, 1000); return c
@holder
def trace(x): c = connect(); c.set_trace_callback(x); return c
@holder
def collation(x): c = connect(); c.create_collation("x", x); return c
@holder
def newlines(x): return io.IncrementalNewlineDecoder(x, True)
@holder
def profiler(x): return __import__("_lsprof").Profiler(x)
@holder
def partial(x): return functools.partial(x, x, x=x)
@holder
def caller(x): return (operator.itemgetter(x), operator.methodcaller("x", x, y=x))
@holder
def iterators(x): return [itertools.starmap(x, []), itertools.repeat(x), itertools.groupby([], x), map(x, [])]
@holder
def psk(x):
    ssl = __import__("ssl")
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT); c.set_psk_client_callback(x); return c
@holder
def scheduling(x): return __import__("posix").sched_param(x)
@holder
def memo(x): p = pickle.Pickler(io.BytesIO()); p.memo = {1: (0, x)}; return p
@holder
def function(x): c = connect(); c.create_function("x", 1, x); return c
@holder
def aggregate(x): c = connect(); c.create_aggregate("x", 1, x); return c

# The newest version in which it stays, and under which name.
STAY = {
    "authorizer": (9, "sqlite3.Connection object, at offset"),
    "progress": (9, "sqlite3.Connection object, at offset"),
    "trace": (9, "sqlite3.Connection object, at offset"),
    "newlines": (11, "_io.IncrementalNewlineDecoder object, at offset"),
    "profiler": (12, "_lsprof.Profiler object, at offset"),
    "psk": (13, "SSLContext object, at offset"),
    "scheduling": (15, "posix.sched_param object, which the collector does not list"),
    "function": (10, "callback of a sqlite3.Connection object"),
    "aggregate": (10, "callback of a sqlite3.Connection object"),
    "memo": (11, "memo of a _pickle.Pickler object"),
}

def look(name, hold):
    old, new = Zone(), Zone()
    try:
        kept = hold(old)
    except (AttributeError, ImportError, TypeError):
        return                  # not in this version
    foreseen = pyhot.remap({old: new}, dry_run=True)
    report = pyhot.remap({old: new})
    held = [(h["where"], h["count"]) for h in report["held"]]
    assert report["unaccounted"] == report["unresolved"] == 0, (name, report)
    assert foreseen["held"] == report["held"] and foreseen["unaccounted"] == 0, (name, foreseen)
    if held:
        newest, where = STAY.get(name, (0, ""))
        assert V <= newest and len(held) == 1 and where in held[0][0], (name, report)
    return kept, new

kept = {name: look(name, hold) for name, hold in HOLDERS.items()}
assert kept["aware"][0].tzinfo is kept["aware"][1]
gc.collect()

if V >= 11:
    # a class that SQLite calls is the new one
    class Old:
        def step(self, x): pass
        def finalize(self): return "old"
    class New:
        def step(self, x): pass
        def finalize(self): return "new"
    c = connect()
    c.create_aggregate("total_of", 1, Old)
    c.create_function("double", 1, Old)
    gc.collect()
    report = pyhot.remap({Old: New})
    assert report["unaccounted"] == report["unresolved"] == 0 and not report["held"], report
    assert report["by_kind"]["C holder"] == 2, report
    assert c.execute("select total_of(1)").fetchone() == ("new",)
    c.close()

# an array in a local of a running frame
try:
    import numpy
except ImportError:
    numpy = None
def with_array(x):
    array = numpy.array([x, None, x], dtype=object)
    return look_local(x, array)
def look_local(x, array):
    new = Zone()
    del array
    report = pyhot.remap({x: new})
    assert report["unaccounted"] == report["unresolved"] == 0 and report["by_kind"]["array"] == 2, report
if numpy:
    with_array(Zone())
    old, new = Zone(), Zone()
    pair = numpy.array([old, old], dtype=object)
    iterators = [pair.flat, numpy.broadcast(pair.copy(), [1]), numpy.nditer(pair.copy(), flags=["refs_ok"])]
    del pair
    report = pyhot.remap({old: new})
    assert report["unaccounted"] == 0 and report["by_kind"]["array"] == 6, report
    assert list(iterators[0]) == [new, new]

# suspended greenlets
try:
    import greenlet
except ImportError:
    greenlet = None
def pause():
    greenlet.getcurrent().parent.switch()
def deep(n, x):
    if n:
        return deep(n - 1, x)
    pause()
    return x
def work():
    pause()
    return "old"
def new_work(): pass
def suspended():
    old, new = Zone(), Zone()
    greenlets = [greenlet.greenlet(deep) for _ in range(20)]
    for g in greenlets:
        g.switch(3, old)
    busy = greenlet.greenlet(work)
    busy.switch()
    report = pyhot.remap({old: new, work: new_work})
    assert report["unresolved"] == 0 and report["by_kind"]["frame local"] == 81, report
    assert V >= 14 or report["unaccounted"] == 0, report
    frame, = report["frames_on_old_code"]
    assert (frame["suspended"], frame["function"]) == ("greenlet", "work"), frame
    for g in greenlets:
        assert g.switch() is new
    assert busy.switch() == "old" and all(g.dead for g in greenlets)
if greenlet:
    suspended()
'''


def test_survey(python, run_script):
    run_script(python, SURVEY)
