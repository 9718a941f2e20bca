/* System calls without the C library: the stub has none of its own. */
#ifndef PYHOT_STUB_SYSCALL_H
#define PYHOT_STUB_SYSCALL_H

#include <stdint.h>
#include <sys/syscall.h>

#ifndef __x86_64__
#error "stub_syscall is not written for this machine"
#endif

/* The result, or -errno. */
static inline long stub_syscall(long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                                uint64_t e, uint64_t f)
{
    long result;
    register uint64_t r10 __asm__("r10") = d;
    register uint64_t r8 __asm__("r8") = e;
    register uint64_t r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

#endif
