"""Third-party packages with much C in them, and a test that they work."""
import importlib
import io
import sys

MODULES = """
    numpy lxml.etree lxml.html lxml.objectify flask jinja2 werkzeug.test click sqlalchemy
    sqlalchemy.orm yaml ctypes sqlite3
""".split()


def load():
    """Those that are there."""
    loaded = []
    for name in MODULES:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
        loaded.append(name)
    return loaded


def smoke_numpy():
    import numpy
    a = numpy.arange(12.0).reshape(3, 4)
    assert (a @ a.T).shape == (3, 3) and numpy.linalg.det(numpy.eye(3)) == 1.0
    assert numpy.allclose(numpy.fft.ifft(numpy.fft.fft(a[0])), a[0])
    assert numpy.ma.masked_array([1, 2], [True, False]).sum() == 2
    assert str(numpy.array([object, 1], dtype=object)).startswith("[")
    f = numpy.vectorize(lambda x: x + 1)
    assert list(f([1, 2])) == [2, 3]
    numpy.random.default_rng(1).normal(size=3)
    numpy.save(io.BytesIO(), a)
    r = numpy.rec.array([(1, 2.0)], dtype=[("x", int), ("y", float)])
    assert r.x[0] == 1
    with numpy.errstate(all="ignore"):
        numpy.float64(1) / numpy.float64(0)
    numpy.testing.assert_array_equal(a, a)


def smoke_lxml():
    from lxml import etree, html, objectify
    root = etree.fromstring("<a><b x='1'>t</b></a>")
    assert root.xpath("//b/@x") == ["1"] and etree.tostring(root)

    class Element(etree.ElementBase):
        pass

    parser = etree.XMLParser()
    parser.set_element_class_lookup(etree.ElementDefaultClassLookup(element=Element))
    assert isinstance(etree.fromstring("<a/>", parser), Element)
    assert html.fromstring("<p>x<br></p>").text == "x"
    assert objectify.fromstring("<a><b>1</b></a>").b == 1
    ns = etree.FunctionNamespace(None)
    ns["double"] = lambda context, x: x * 2
    assert root.xpath("double(2)") == 4


def smoke_flask():
    import flask
    app = flask.Flask("demo")

    @app.route("/<int:n>")
    def page(n):
        return flask.render_template_string("{{ n + 1 }} {{ url_for('page', n=1) }}", n=n)

    @app.route("/json")
    def data():
        return flask.jsonify(a=flask.request.args.get("a"))

    client = app.test_client()
    assert client.get("/4").data == b"5 /1" and client.get("/json?a=b").json == {"a": "b"}
    assert client.get("/nothing").status_code == 404


def smoke_sqlalchemy():
    import sqlalchemy as sa
    from sqlalchemy import orm
    Base = orm.declarative_base()

    class User(Base):
        __tablename__ = "user"
        id = sa.Column(sa.Integer, primary_key=True)
        name = sa.Column(sa.String(50))
        posts = orm.relationship("Post", back_populates="user")

    class Post(Base):
        __tablename__ = "post"
        id = sa.Column(sa.Integer, primary_key=True)
        user_id = sa.Column(sa.ForeignKey("user.id"))
        user = orm.relationship(User, back_populates="posts")

    engine = sa.create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with orm.Session(engine) as session:
        session.add(User(name="x", posts=[Post(), Post()]))
        session.commit()
        user = session.scalars(sa.select(User).where(User.name == "x")).one()
        assert len(user.posts) == 2 and user.posts[0].user is user


def smoke_yaml():
    import yaml
    data = {"a": [1, None]}
    for loader, dumper in ((yaml.SafeLoader, yaml.SafeDumper),
                           (yaml.CSafeLoader, yaml.CSafeDumper)):
        assert yaml.load(yaml.dump(data, Dumper=dumper), Loader=loader) == data


def smoke_ctypes():
    import ctypes
    libc = ctypes.CDLL(None)
    pointer = ctypes.POINTER(ctypes.c_int)
    compare = ctypes.CFUNCTYPE(ctypes.c_int, pointer, pointer)
    array = (ctypes.c_int * 3)(3, 1, 2)
    libc.qsort(array, 3, ctypes.sizeof(ctypes.c_int), compare(lambda a, b: a[0] - b[0]))
    assert list(array) == [1, 2, 3]


def smoke_sqlite3():
    import sqlite3
    db = sqlite3.connect(":memory:")

    class Sum:
        def __init__(self):
            self.n = 0

        def step(self, x):
            self.n += x

        def finalize(self):
            return self.n

    db.create_aggregate("mysum", 1, Sum)
    db.create_function("twice", 1, lambda x: 2 * x)
    query = "select mysum(twice(x)) from (select 1 x union select 2)"
    assert db.execute(query).fetchone() == (6,)
    db.row_factory = sqlite3.Row
    assert db.execute("select 1 a").fetchone()["a"] == 1


def smoke_test(loaded):
    for name in sorted({name.partition(".")[0] for name in loaded}):
        if "smoke_" + name in globals():
            globals()["smoke_" + name]()
