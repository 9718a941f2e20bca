/* See eintr.h.  Of socket calls with SO_RCVTIMEO nothing can be told from outside. */
#include "eintr.h"

#include <stddef.h>
#include <sys/syscall.h>

enum limit {
    NEVER,        /* has no time limit */
    MILLISECONDS, /* an int, negative: none */
    POINTER,      /* NULL: none */
};

static const struct {
    long number;
    enum limit limit;
    int argument;
} calls[] = {
#ifdef SYS_epoll_wait
    {SYS_epoll_wait, MILLISECONDS, 3},
#endif
    {SYS_epoll_pwait, MILLISECONDS, 3},
#ifdef SYS_epoll_pwait2
    {SYS_epoll_pwait2, POINTER, 3},
#endif
    {SYS_rt_sigtimedwait, POINTER, 2},  {SYS_semop, NEVER, 0},
    {SYS_semtimedop, POINTER, 3},       {SYS_io_getevents, POINTER, 4},
};

bool eintr_on_stop(long number, const uint64_t arguments[6], bool *endless)
{
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        if (calls[i].number != number)
            continue;
        uint64_t value = arguments[calls[i].argument];
        *endless = calls[i].limit == NEVER || (calls[i].limit == POINTER && value == 0) ||
                   (calls[i].limit == MILLISECONDS && (int32_t)value < 0);
        return true;
    }
    return false;
}

bool eintr_is_retried(long number)
{
    static const long retried[] = {
#ifdef SYS_poll
        SYS_select,   SYS_poll,    SYS_epoll_wait,
#endif
        SYS_pselect6, SYS_ppoll,   SYS_epoll_pwait,     SYS_futex,  SYS_nanosleep,
        SYS_accept,   SYS_accept4, SYS_clock_nanosleep, SYS_read,   SYS_readv,
        SYS_recvfrom, SYS_recvmsg, SYS_rt_sigtimedwait, SYS_write,  SYS_writev,
        SYS_sendto,   SYS_sendmsg, SYS_wait4,           SYS_waitid, SYS_flock,
    };
    for (size_t i = 0; i < sizeof retried / sizeof *retried; i++)
        if (retried[i] == number)
            return true;
    return false;
}

bool eintr_awaits_signal(long number)
{
#ifdef SYS_pause
    if (number == SYS_pause)
        return true;
#endif
    return number == SYS_rt_sigsuspend;
}
