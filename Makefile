# make            build/pyhot, the one binary; the agent is embedded in it
# make demo       install what is missing, build, hot-reload a real running program
# make check      the same set-up, then all tests
# make install    PREFIX= DESTDIR=
# make clean
#
# Longer forms of the tests: make long (nothing left out for its time), make faults (attaches under
# every load), make bench (ratios); make support writes docs/support.md from the tests of what works where.
# One part of the tests: make unit, make integration TESTS="tests/test_attach.py -k sleep".
# With FAULTS=1 (and a B= of its own): a pyhot that can be killed at named places, for the tests.
# With SANITIZE=address,undefined likewise: one that checks its own memory; not what runs in targets.

PREFIX  ?= /usr/local
DESTDIR ?=
CC      ?= cc
B       ?= build
TESTS   ?= tests
JOBS    ?= $(shell nproc)

WARNINGS  = -Wall -Wextra -Werror
CFLAGS   ?= -O2 -g
COMMON    = -std=gnu11 $(WARNINGS) -D_GNU_SOURCE -MMD -MP $(CFLAGS) $(if $(FAULTS),-DPYHOT_FAULTS)

CHECKED   = $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer)

INJECTOR_LIBS = -lunwind-ptrace -lunwind-generic -lunwind -ldw -lelf -ljson-c
INJECTOR_SRC  = $(filter-out %_blob.S,$(wildcard injector/*.[cS] injector/arch/*.[cS]))
INJECTOR_OBJ  = $(addprefix $B/,$(addsuffix .o,$(basename $(INJECTOR_SRC))))

# The code that runs in the target's thread of ours: linked alone, so that it can need nothing.
MACHINE    := $(shell uname -m)
STUB_SRC    = injector/stub/$(MACHINE).S injector/stub/thread.c
STUB_FLAGS  = -std=gnu11 $(WARNINGS) -D_GNU_SOURCE -Os -fpie -ffreestanding -fno-stack-protector \
              -fno-asynchronous-unwind-tables -fcf-protection=none -mgeneral-regs-only -nostdlib \
              -static -Wl,--build-id=none -Wl,-T,injector/stub/stub.ld

AGENT_SRC = $(wildcard agent/*.c agent/*/*.c)
AGENT_OBJ = $(AGENT_SRC:%.c=$B/%.o)
# One shared object for every interpreter: no Python.h, libc only, nothing resolved early that
# an interpreter lacks, never unloaded (running code may still point into it).
AGENT_FLAGS   = -Iagent -fPIC -fvisibility=hidden -fno-plt
AGENT_LDFLAGS = -shared -Wl,-soname,pyhot-agent.so -Wl,-z,nodelete -Wl,--build-id=sha1 \
                -Wl,--no-undefined-version $(if $(FAULTS),$(FAILING))
FAILING       = -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=mmap,--wrap=mremap

.PHONY: all setup demo check unit integration long faults support bench install clean

all: $B/pyhot

$B/pyhot: $(INJECTOR_OBJ) $B/injector/agent_blob.o $B/injector/stub_blob.o
	$(CC) $(CFLAGS) $(CHECKED) $(LDFLAGS) -o $@ $^ $(INJECTOR_LIBS)

$B/pyhot.so: $(AGENT_OBJ)
	$(CC) $(CFLAGS) $(AGENT_LDFLAGS) $(LDFLAGS) -o $@ $^

$B/injector/agent_blob.o: injector/agent_blob.S $B/pyhot.so
	@mkdir -p $(@D)
	$(CC) -DAGENT_FILE='"$B/pyhot.so"' -c -o $@ $<

$B/stub.bin: $(STUB_SRC) $(wildcard injector/stub/*.[hl]*) agent/request.h
	@mkdir -p $(@D)
	$(CC) $(STUB_FLAGS) -o $@.elf $(STUB_SRC)
	objcopy -O binary -j .text $@.elf $@

$B/injector/stub_blob.o: injector/stub_blob.S $B/stub.bin
	@mkdir -p $(@D)
	$(CC) -DSTUB_FILE='"$B/stub.bin"' -c -o $@ $<

$B/agent/%.o: agent/%.c
	@mkdir -p $(@D)
	$(CC) $(COMMON) $(AGENT_FLAGS) -c -o $@ $<

$B/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(COMMON) $(CHECKED) -c -o $@ $<

$B/%.o: %.S
	@mkdir -p $(@D)
	$(CC) $(COMMON) -c -o $@ $<

-include $(INJECTOR_OBJ:.o=.d) $(AGENT_OBJ:.o=.d)

setup:
	@scripts/setup

demo: setup
	@$(MAKE) --no-print-directory -s -j$(JOBS) all
	@scripts/demo $B/pyhot

check: setup
	@$(MAKE) --no-print-directory -s -j$(JOBS) all
	@$(MAKE) --no-print-directory -s unit
	@$(MAKE) --no-print-directory -s integration

-include tests/unit/unit.mk

UNDER_TEST = PYHOT=$(abspath $B/pyhot) PYHOT_AGENT=$(abspath $B/pyhot.so) \
             PYHOT_FAULTS_BINARY=$(abspath $B/faults/pyhot)

.PHONY: faults-binary
faults-binary:
	@$(MAKE) --no-print-directory -s -j$(JOBS) FAULTS=1 B=$B/faults all

integration: all faults-binary
	$(UNDER_TEST) /usr/bin/python3 -m pytest -p no:cacheprovider -n $(JOBS) -rs $(TESTS)

long: setup
	@PYHOT_LONG=1 $(MAKE) --no-print-directory -s integration

faults: setup all faults-binary
	$(UNDER_TEST) /usr/bin/python3 tests/faults/run.py --jobs $(JOBS) $(FAULTS_OPTIONS)

# What works where, from the results of these tests.
SUPPORT = builds confinement interpreters refusals remote_exec subinterpreters unknown
support: all faults-binary
	-$(UNDER_TEST) /usr/bin/python3 -m pytest -q -p no:cacheprovider -n $(JOBS) \
	    -o junit_family=xunit1 --junit-xml=$B/support.xml $(SUPPORT:%=tests/test_%.py)
	scripts/support-table $B/support.xml >docs/support.md

bench: all
	PYHOT=$(abspath $B/pyhot) PYHOT_AGENT=$(abspath $B/pyhot.so) /usr/bin/python3 scripts/bench

install: all
	install -D -m 755 $B/pyhot $(DESTDIR)$(PREFIX)/bin/pyhot
	install -D -m 644 docs/pyhot.1 $(DESTDIR)$(PREFIX)/share/man/man1/pyhot.1
	install -D -m 644 scripts/completions/pyhot.bash \
	    $(DESTDIR)$(PREFIX)/share/bash-completion/completions/pyhot
	install -D -m 644 scripts/pyhot-gdb.py $(DESTDIR)$(PREFIX)/share/pyhot/pyhot-gdb.py
	@echo 'pyhot inside gdb: add this line to ~/.gdbinit, or for all users link that file into'
	@echo '/etc/gdb/gdbinit.d (see: gdb --configuration):'
	@echo '    source $(PREFIX)/share/pyhot/pyhot-gdb.py'

clean:
	rm -rf $B
