# make unit: the parts of pyhot one by one (cmocka), and our knowledge of CPython's layouts
# against the headers of every interpreter on the machine.

UNIT_TESTS = $(patsubst tests/unit/%.c,$B/tests/unit/%,$(wildcard tests/unit/test_*.c))

# Everything of the injector but main; a test takes from it what it needs.
$B/injector.a: $(filter-out $B/injector/main.o,$(INJECTOR_OBJ)) \
               $B/injector/agent_blob.o $B/injector/stub_blob.o
	@rm -f $@
	$(AR) rcs $@ $^

$B/tests/unit/test_%: $B/tests/unit/test_%.o $B/tests/unit/child.o $B/injector.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lcmocka $(INJECTOR_LIBS)

# Interpreters that this machine lacks.
FAKES = $B/tests/unit/fake-python $B/tests/unit/fake-python-refs $B/tests/unit/fake-python-static
$(FAKES): tests/unit/fake_python.c injector/runtime_layout.h
	@mkdir -p $(@D)
	$(CC) $(COMMON) -MF /dev/null $(FAKE_FLAGS) -o $@ $<
$B/tests/unit/fake-python: FAKE_FLAGS = -rdynamic
$B/tests/unit/fake-python-refs: FAKE_FLAGS = -rdynamic -DTRACE_REFS
$B/tests/unit/fake-python-static: FAKE_FLAGS = -static

-include $(UNIT_TESTS:=.d) $B/tests/unit/child.d

.SECONDARY: $(UNIT_TESTS:=.o) $B/tests/unit/child.o

unit: $(UNIT_TESTS) $(FAKES) $B/pyhot.so
	@for test in $(UNIT_TESTS); do \
	    timeout 60 $$test >$$test.log 2>&1 || { cat $$test.log; exit 1; }; \
	    echo "$${test##*/}: $$(grep -c '\[       OK' $$test.log) passed"; \
	done
	@/usr/bin/python3 tests/unit/layout.py "$(CC)" $B/tests/unit
