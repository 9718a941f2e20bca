/* Lines from the agent, and giving up (channel.h). */
#include "channel.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "fault.h"
#include "loaded_agent.h"
#include "procfs.h"
#include "tracee.h"

enum {
    MAX_LINE = 64 << 20, /* a report can be long; without an end it is not ours */
    POLL_MS = 50,
    END_MS = 1000,
    PATIENCE_MS = 5000, /* with a change that has begun, when the time is over */
};

volatile int channel_interrupted;

struct lines {
    char *bytes;
    size_t used, capacity;
};

struct reader {
    struct injection *injection;
    const struct target *target;
    channel_progress progress;
    void *arg;
    struct lines lines;
    struct json_object *result; /* owned */
    struct error *error;
    bool ended;
};

static const char *text_of(struct json_object *object, const char *key)
{
    struct json_object *value;
    return json_object_object_get_ex(object, key, &value) && value ? json_object_get_string(value)
                                                                   : NULL;
}

static int64_t number_of(struct json_object *object, const char *key)
{
    struct json_object *value;
    return json_object_object_get_ex(object, key, &value) ? json_object_get_int64(value) : 0;
}

static struct error *error_of_line(struct json_object *line)
{
    const char *code = text_of(line, "code"), *message = text_of(line, "message");
    const char *hint = text_of(line, "hint");
    struct error *error = error_new((enum exit_status)number_of(line, "exit"),
                                    code ? code : "agent", "%s", message ? message : "failed");
    return hint ? error_hint(error, "%s", hint) : error;
}

static struct error *bad_line(const struct reader *reader)
{
    return error_hint(error_new(EXIT_CANNOT_ATTACH, "protocol",
                                "the agent in process %d said something that pyhot does not "
                                "understand",
                                (int)reader->target->pid),
                      "this is a defect of pyhot; please report it");
}

static void take_line(struct reader *reader, const char *text)
{
    struct json_object *line = json_tokener_parse(text), *body;
    const char *type = json_object_is_type(line, json_type_object) ? text_of(line, "type") : NULL;

    if (!type) {
        reader->error = bad_line(reader);
        reader->ended = true;
    } else if (!strcmp(type, "progress")) {
        const char *phase = text_of(line, "phase");
        if (reader->progress && phase)
            reader->progress(phase, (uint64_t)number_of(line, "done"),
                             (uint64_t)number_of(line, "total"), reader->arg);
    } else if (!strcmp(type, "result") && json_object_object_get_ex(line, "body", &body)) {
        reader->result = json_object_get(body);
        reader->ended = true;
    } else if (!strcmp(type, "error")) {
        reader->error = error_of_line(line);
        reader->ended = true;
    }
    /* Others are from an agent that can say more than we ask for. */
    json_object_put(line);
}

static void take_lines(struct reader *reader)
{
    struct lines *lines = &reader->lines;
    size_t start = 0;
    char *newline;
    while (!reader->ended && (newline = memchr(lines->bytes + start, '\n', lines->used - start))) {
        *newline = '\0';
        take_line(reader, lines->bytes + start);
        start = (size_t)(newline + 1 - lines->bytes);
    }
    lines->used -= start;
    memmove(lines->bytes, lines->bytes + start, lines->used);
}

static bool make_room(struct lines *lines)
{
    if (lines->used < lines->capacity)
        return true;
    size_t capacity = lines->capacity ? 2 * lines->capacity : 1 << 16;
    char *bytes = capacity > MAX_LINE ? NULL : realloc(lines->bytes, capacity);
    if (!bytes)
        return false;
    lines->bytes = bytes;
    lines->capacity = capacity;
    return true;
}

/* Reads what there is.  True when there will be no more. */
static bool drain(struct reader *reader)
{
    while (!reader->ended) {
        struct lines *lines = &reader->lines;
        if (!make_room(lines)) {
            reader->error = bad_line(reader);
            return true;
        }
        ssize_t n = read(reader->injection->channel, lines->bytes + lines->used,
                         lines->capacity - lines->used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0 || errno != EAGAIN;
        lines->used += (size_t)n;
        take_lines(reader);
    }
    return true;
}

/* Moves the request to CANCELLED unless the change has begun. */
static bool cancel(struct pyhot_request *request, uint32_t *was)
{
    *was = atomic_load(&request->state);
    while (*was == PYHOT_WAITING || *was == PYHOT_RUNNING)
        if (atomic_compare_exchange_weak(&request->state, was, PYHOT_CANCELLED))
            return true;
    return false;
}

static struct error *cancelled(const struct target *target, uint32_t was)
{
    int pid = (int)target->pid;
    if (channel_interrupted)
        return error_new(EXIT_DEADLINE, "interrupted", "interrupted; process %d is unchanged", pid);
    if (was == PYHOT_WAITING)
        return error_hint(
            error_new(EXIT_DEADLINE, "gil-busy",
                      "process %d did not let the agent begin in time; it is unchanged", pid),
            "a thread in it is in a long call that keeps the GIL, or the reload of another "
            "pyhot has not ended there; try again with a longer --timeout");
    return error_hint(
        error_new(EXIT_DEADLINE, "deadline",
                  "the agent in process %d was not done in time; the process is unchanged", pid),
        "try again with a longer --timeout");
}

/* An execve takes the agent away, and a child of the process may keep the pipe open. */
static struct error *replaced_meanwhile(const struct target *target)
{
    struct target view = *target;
    uint64_t agent = 0;
    view.maps = NULL;
    view.n_maps = 0;
    struct error *unreadable = target_read_maps(&view);
    if (!unreadable)
        unreadable = loaded_agent_find(&agent, &view);
    target_free_maps(&view);
    if (unreadable || agent) {
        error_free(unreadable); /* it is ending: the pipe tells */
        return NULL;
    }
    return error_hint(error_new(EXIT_CANNOT_ATTACH, "replaced-meanwhile",
                                "process %d executed another program (execve) while it was being "
                                "changed",
                                (int)target->pid),
                      "nothing of pyhot is left in it");
}

/* The change has begun, so it will be completed; but not while the process is stopped, and for
 * how long that is nobody can say. */
static struct error *stopped_meanwhile(const struct target *target)
{
    struct proc_stat stat;
    int pid = (int)target->pid;
    if (proc_stat(target->pid, &stat) || stat.state != 'T')
        return NULL;
    return error_hint(error_new(EXIT_REPORT_LOST, "stopped-meanwhile",
                                "process %d was stopped (T) while it was being changed; the change "
                                "will be completed when it is continued",
                                pid),
                      "kill -CONT %d", pid);
}

/* Nobody can say how long a hook of the program takes, or how long a cgroup is frozen. */
static struct error *not_finished(const struct target *target)
{
    int pid = (int)target->pid;
    return error_hint(
        error_new(EXIT_REPORT_LOST, "not-finished",
                  "the change of process %d has begun, but has not ended in time; it "
                  "goes on by itself and there will be no report",
                  pid),
        "a hook of the module (__pyhot_after__) may take long, or the process is frozen; "
        "later `pyhot list-stale %d` tells what is loaded",
        pid);
}

/* A process that ends closes its descriptors a moment before its end can be seen. */
static struct error *silent(const struct reader *reader)
{
    struct pollfd end = {.fd = reader->target->pidfd, .events = POLLIN};
    poll(&end, 1, END_MS);
    struct error *error = target_check(reader->target);
    return error ? error
                 : error_new(EXIT_CANNOT_ATTACH, "no-answer",
                             "the agent in process %d ended without an answer",
                             (int)reader->target->pid);
}

/* One turn of waiting and reading.  True when it is over. */
static bool turn(struct reader *reader)
{
    struct pyhot_request *request = reader->injection->request;
    struct pollfd events[2] = {
        {.fd = reader->injection->channel, .events = POLLIN},
        {.fd = reader->target->pidfd, .events = POLLIN}, /* ignored by poll if -1 */
    };
    /* Asked before reading, so that what was said before the end is read. */
    bool done = atomic_load(&request->state) == PYHOT_DONE;
    poll(events, 2, done ? 0 : POLL_MS);
    bool died = events[1].revents ||
                (reader->target->pidfd < 0 && !events[0].revents && kill(reader->target->pid, 0));
    if (!drain(reader) && !done && !died)
        return false;
    if (!reader->result && !reader->error)
        reader->error = silent(reader);
    return true;
}

struct error *channel_read(struct injection *injection, const struct target *target,
                           uint64_t deadline_ns, channel_progress progress, void *arg,
                           struct json_object **result)
{
    struct reader reader = {
        .injection = injection, .target = target, .progress = progress, .arg = arg};
    uint64_t now, over_ns = 0;
    uint32_t was;

    *result = NULL;
    fault_point("listening");
    while (!turn(&reader)) {
        now = monotonic_ns();
        if (!channel_interrupted && now < deadline_ns)
            continue;
        if (!over_ns)
            over_ns = now;
        reader.error =
            cancel(injection->request, &was) ? cancelled(target, was) : stopped_meanwhile(target);
        if (!reader.error && was == PYHOT_COMMITTING)
            reader.error = replaced_meanwhile(target);
        /* A debugger's user may hold it for as long as they like. */
        if (!reader.error && was == PYHOT_COMMITTING && !target->debugger &&
            now - over_ns >= PATIENCE_MS * UINT64_C(1000000))
            reader.error = not_finished(target);
        if (reader.error)
            break;
    }
    free(reader.lines.bytes);
    *result = reader.result;
    return reader.error;
}
