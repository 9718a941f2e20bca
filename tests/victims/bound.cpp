// Each way in which pybind11's code can refer to an object, and a class that Python derives from.
#include <map>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <string>
#include <vector>

namespace py = pybind11;

struct Box {
    py::object one;
    std::vector<py::object> many;
    std::map<std::string, py::object> named;
};

struct Pet {
};

struct Base {
    virtual ~Base() {}
    virtual int value() { return 0; }
};

struct Derived : Base {
    int value() override { PYBIND11_OVERRIDE(int, Base, value, ); }
};

PYBIND11_MODULE(bound, m)
{
    static py::handle of_module; // no object, as its destructor would run after Python's end

    py::class_<Box>(m, "Box")
        .def(py::init([](py::object x) { return Box{x, {x, x}, {{"a", x}}}; }))
        .def("get", [](Box &b) { return py::make_tuple(b.one, b.many[1], b.named["a"]); });
    py::class_<Pet>(m, "Pet", py::dynamic_attr()).def(py::init<>());
    py::class_<Base, Derived>(m, "Base").def(py::init<>()).def("value", &Base::value);
    m.def("ask", [](Base &b) { return b.value(); });
    m.def("keep", [](py::object x) {
        of_module.dec_ref();
        of_module = x.release();
    });
    m.def("kept", []() { return py::make_tuple(of_module); });
    m.def("capture",
          [](py::object x) { return py::cpp_function([x]() { return py::make_tuple(x); }); });
}
