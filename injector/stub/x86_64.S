/* The entry points of the stub (stub.h).  The first byte is where the borrowed thread enters. */
#include "stub.h"
#include <asm/unistd.h>

#define PROT_READ_WRITE 3
#define SIG_SETMASK 2
#define MASK_SIZE 8
#define NO_AMX_LOW 0xfff9ffff /* which a signal frame of ours has no room for (arch_unfit) */
#define FUTEX_WAIT_PRIVATE 128
#define FUTEX_WAKE_OP_PRIVATE 133
/* *address = 1, then wake if it was 0: FUTEX_OP(FUTEX_OP_SET, 1, FUTEX_OP_CMP_EQ, 0) */
#define SET_ONE_IF_ZERO_WAKE 0x1000

        .text
        .globl  stub_borrowed
/* rdi: the region.  The return address on the stack is the C library's sigreturn code; no
 * register needs to be kept.  ebp: 0 or an errno, for the tracer (arch_stub_result).
 *
 * The last instruction in the region jumps to the C library's `syscall; ret`, and that system
 * call is what gives the region away: the kernel sets `left`, or unmaps the region, when this
 * thread has already left it. */
stub_borrowed:
        mov     %rdi, %rbx
        lea     STUB_PAGE(%rbx), %rdi
        mov     $STUB_PAGE, %esi
        mov     $PROT_READ_WRITE, %edx
        mov     $__NR_mprotect, %eax
        syscall
        mov     %eax, %ebp
        neg     %ebp
        test    %eax, %eax
        jnz     1f

        sub     $8, %rsp
        lea     STUB_THREAD(%rbx), %rdi
        xor     %esi, %esi
        lea     stub_thread_entry(%rip), %rdx
        mov     %rbx, %rcx
        call    *STUB_PTHREAD_CREATE(%rbx)
        add     $8, %rsp
        mov     %eax, %ebp
        test    %eax, %eax
        jnz     1f

8:      lea     STUB_LEFT(%rbx), %rdi
        mov     %rdi, %r8
        mov     $FUTEX_WAKE_OP_PRIVATE, %esi
        mov     $1, %edx
        xor     %r10d, %r10d
        mov     $SET_ONE_IF_ZERO_WAKE, %r9d
        mov     $__NR_futex, %eax
        jmp     *STUB_SYSCALL_RETURN(%rbx)

1:      mov     %rbx, %rdi
        mov     $STUB_REGION_SIZE, %esi
        mov     $__NR_munmap, %eax
        jmp     *STUB_SYSCALL_RETURN(%rbx)

/* long stub_called(region), for a debugger's call of a function (../debugger.c): as above, but it
 * returns, with -errno if no thread was started, and no signal can come while the thread is being
 * made.  A signal that was waiting runs its handler before `left` is said.
 */
        .org    STUB_CALLED
        push    %rbx
        push    %rbp
        push    %r12
        sub     $16, %rsp
        mov     %rdi, %rbx
        movq    $-1, 8(%rsp)
        mov     $SIG_SETMASK, %edi
        lea     8(%rsp), %rsi
        mov     %rsp, %rdx
        mov     $MASK_SIZE, %r10d
        mov     $__NR_rt_sigprocmask, %eax
        syscall
        lea     STUB_PAGE(%rbx), %rdi
        mov     $STUB_PAGE, %esi
        mov     $PROT_READ_WRITE, %edx
        mov     $__NR_mprotect, %eax
        syscall
        mov     %rax, %rbp
        test    %eax, %eax
        jnz     2f
        lea     STUB_THREAD(%rbx), %rdi
        xor     %esi, %esi
        lea     stub_thread_entry(%rip), %rdx
        mov     %rbx, %rcx
        call    *STUB_PTHREAD_CREATE(%rbx)
        movslq  %eax, %rbp
        neg     %rbp
2:      mov     $SIG_SETMASK, %edi
        mov     %rsp, %rsi
        xor     %edx, %edx
        mov     $MASK_SIZE, %r10d
        mov     $__NR_rt_sigprocmask, %eax
        syscall
        mov     %rbp, %rax
        mov     STUB_SYSCALL_RETURN(%rbx), %r11
        lea     STUB_LEFT(%rbx), %rdi
        add     $16, %rsp
        pop     %r12
        pop     %rbp
        pop     %rbx
        test    %rax, %rax
        jnz     3f
        mov     %rdi, %r8
        mov     $FUTEX_WAKE_OP_PRIVATE, %esi
        mov     $1, %edx
        xor     %r10d, %r10d
        mov     $SET_ONE_IF_ZERO_WAKE, %r9d
        mov     $__NR_futex, %eax
        jmp     *%r11
3:      ret

/* rdi: the region, rsi: the vector state of a signal frame, still empty; the frame is on the stack,
 * as for stub_borrowed, so this thread comes back by itself whatever becomes of its debugger.
 * Python's thread state is saved, which lets the GIL go, and restored when our thread has said
 * `done`; all signals wait.  ebp as above, at STUB_LENT. */
        .org    STUB_LENDS
        mov     %rdi, %rbx
        mov     $NO_AMX_LOW, %eax
        mov     $-1, %edx
        xsave64 (%rsi)
        push    $-1
        mov     $SIG_SETMASK, %edi
        mov     %rsp, %rsi
        xor     %edx, %edx
        mov     $MASK_SIZE, %r10d
        mov     $__NR_rt_sigprocmask, %eax
        syscall
        lea     STUB_PAGE(%rbx), %rdi
        mov     $STUB_PAGE, %esi
        mov     $PROT_READ_WRITE, %edx
        mov     $__NR_mprotect, %eax
        syscall
        mov     %eax, %ebp
        neg     %ebp
        jnz     5f
        lea     STUB_THREAD(%rbx), %rdi
        xor     %esi, %esi
        lea     stub_thread_entry(%rip), %rdx
        mov     %rbx, %rcx
        call    *STUB_PTHREAD_CREATE(%rbx)
        mov     %eax, %ebp
        test    %eax, %eax
        jnz     5f
        call    *STUB_SAVE_THREAD(%rbx)
        mov     %rax, %r12
5:
        .org    STUB_LENT, 0x90
        nop
        test    %ebp, %ebp
        jz      7f
        add     $8, %rsp
        jmp     1b
6:      lea     STUB_DONE(%rbx), %rdi
        mov     $FUTEX_WAIT_PRIVATE, %esi
        xor     %edx, %edx
        xor     %r10d, %r10d
        mov     $__NR_futex, %eax
        syscall
7:      cmpl    $0, STUB_DONE(%rbx)
        je      6b
        mov     %r12, %rdi
        call    *STUB_RESTORE_THREAD(%rbx)
        add     $8, %rsp
        jmp     8b

/* Our thread: start_routine(region).  Its last act is to unmap the code it runs: munmap returns
 * straight to the C library's start_thread. */
stub_thread_entry:
        push    %rbx
        mov     %rdi, %rbx
        lea     STUB_PARAMS(%rbx), %rdi
        lea     STUB_PAGE(%rbx), %rsi
        call    stub_thread
        test    %eax, %eax
        jz      4f
        .org    STUB_END, 0x90
        nop
4:      lea     STUB_PAGE(%rbx), %rdi
        call    stub_wait_until_left
        mov     %rbx, %rdi
        mov     $STUB_REGION_SIZE, %esi
        mov     STUB_MUNMAP(%rbx), %rax
        pop     %rbx
        jmp     *%rax

        .section .note.GNU-stack, "", @progbits
