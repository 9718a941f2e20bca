/* Signals that the target's main thread would sleep through because of us.
 *
 * While it is stopped the kernel gives a signal for the process to another thread.  CPython's
 * handler takes a note there, which only the main thread reads, when its own wait ends: a Ctrl-C
 * would go unseen until then.  (Not stopped, the main thread gets it, and its wait ends.) */
#ifndef PYHOT_NOTED_SIGNAL_H
#define PYHOT_NOTED_SIGNAL_H

#include "python.h"

/* To be called after the main thread was stopped, and again later: the other thread's handler may
 * run late.  If there is a note, and the main thread sleeps in a call made by CPython itself, the
 * call ends with EINTR, which CPython expects: it looks for notes and goes on waiting for what
 * time is left (PEP 475).  Takes a few microseconds if there is none. */
void noted_signal_let_see(const struct target *, const struct python *);

#endif
