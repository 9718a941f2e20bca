/* Writing the protocol; see emit.h for what it promises.
 *
 * Lines are put together in one buffer.  A line that is complete is written as far as the pipe
 * takes it at once (it is O_NONBLOCK); what it does not take waits for emit_flush. */
#include "emit.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "slice.h"

/* With this much waiting, progress is not worth queueing. */
enum { QUEUE_LONG = 32 * 1024 };

static struct {
    int fd;
    bool gone; /* the reader is gone, or memory was short: say nothing more */
    char *text;
    size_t start; /* text[start..end) is not written yet */
    size_t end, capacity;
    struct slice *slice; /* of emit_object, or NULL */
} channel = {.fd = -1};

void emit_open(int fd)
{
    free(channel.text);
    memset(&channel, 0, sizeof channel);
    channel.fd = fd;
}

static void append(const char *bytes, size_t n)
{
    if (channel.gone)
        return;
    if (channel.end + n > channel.capacity) {
        size_t capacity = (channel.end + n) * 2 + 256;
        char *text = realloc(channel.text, capacity);
        if (!text) {
            channel.gone = true;
            return;
        }
        channel.text = text;
        channel.capacity = capacity;
    }
    memcpy(channel.text + channel.end, bytes, n);
    channel.end += n;
}

static void append_text(const char *text)
{
    append(text, strlen(text));
}

/* Writes what the pipe takes without waiting.  True if nothing is left. */
static bool drain(void)
{
    while (!channel.gone && channel.start < channel.end) {
        ssize_t n = write(channel.fd, channel.text + channel.start, channel.end - channel.start);
        if (n > 0)
            channel.start += (size_t)n;
        else if (errno == EAGAIN)
            return false;
        else if (errno != EINTR)
            channel.gone = true; /* EPIPE: SIGPIPE is blocked in the agent's thread */
    }
    channel.start = channel.end = 0;
    return true;
}

static void end_line(void)
{
    append("\n", 1);
    drain();
}

static void append_string(const char *text, size_t n)
{
    size_t plain = 0; /* from here on text is to be appended as it is */

    append("\"", 1);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        char escape[8];
        if (c >= 0x20 && c != 0x7f && c != '"' && c != '\\')
            continue;
        append(text + plain, i - plain);
        plain = i + 1;
        if (c == '"' || c == '\\')
            snprintf(escape, sizeof escape, "\\%c", c);
        else
            snprintf(escape, sizeof escape, "\\u%04x", c);
        append_text(escape);
    }
    append(text + plain, n - plain);
    append("\"", 1);
}

static void append_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void append_format(const char *format, ...)
{
    char text[128];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    append_text(text);
}

void emit_progress(const char *phase, size_t done, size_t total)
{
    if (channel.fd < 0 || channel.end - channel.start > QUEUE_LONG)
        return;
    append_format("{\"type\":\"progress\",\"phase\":\"%s\",\"done\":%zu,\"total\":%zu}", phase,
                  done, total);
    end_line();
}

void emit_error(const char *code, const char *message, const char *hint, int exit_status)
{
    if (channel.fd < 0)
        return;
    append_text("{\"type\":\"error\",\"code\":");
    append_string(code, strlen(code));
    append_text(",\"message\":");
    append_string(message, strlen(message));
    append_text(",\"hint\":");
    if (hint)
        append_string(hint, strlen(hint));
    else
        append_text("null");
    append_format(",\"exit\":%d}", exit_status);
    end_line();
}

static int append_object(PyObject *object);

/* Any str is legal here, lone surrogates too: they are written as \udc80 and the like. */
static int append_str(PyObject *str)
{
    PyObject *utf8 = PyUnicode_AsEncodedString(str, "utf-8", "backslashreplace");
    if (!utf8)
        return -1;
    append_string(PyBytes_AsString(utf8), (size_t)PyBytes_Size(utf8));
    Py_DecRef(utf8);
    return 0;
}

/* int and float as repr writes them, whatever the target's locale is. */
static int append_number(PyObject *number)
{
    PyObject *repr = PyObject_Repr(number);
    const char *text = repr ? PyUnicode_AsUTF8(repr) : NULL;
    if (text)
        append_text(strpbrk(text, "in") ? "null" : text); /* inf, nan */
    Py_DecRef(repr);
    return text ? 0 : -1;
}

static int append_dict(PyObject *dict)
{
    Py_ssize_t position = 0;
    PyObject *key, *value;
    const char *separator = "{";

    while (PyDict_Next(dict, &position, &key, &value)) {
        append_text(separator);
        separator = ",";
        if (append_str(key) < 0)
            return -1;
        append_text(":");
        if (append_object(value) < 0)
            return -1;
    }
    append_text(*separator == '{' ? "{}" : "}");
    return 0;
}

static int append_sequence(PyObject *sequence)
{
    bool tuple = is_tuple(sequence);
    Py_ssize_t n = tuple ? PyTuple_Size(sequence) : PyList_Size(sequence);

    append_text("[");
    for (Py_ssize_t i = 0; i < n; i++) {
        if (i)
            append_text(",");
        PyObject *item = tuple ? PyTuple_GetItem(sequence, i) : PyList_GetItem(sequence, i);
        if (append_object(item) < 0)
            return -1;
        if (channel.slice)
            slice_share(channel.slice);
    }
    append_text("]");
    return 0;
}

static int append_object(PyObject *object)
{
    if (object == Py_None)
        append_text("null");
    else if (object == Py_True)
        append_text("true");
    else if (object == Py_False)
        append_text("false");
    else if (is_str(object))
        return append_str(object);
    else if (is_int(object) || type_of(object) == &PyFloat_Type)
        return append_number(object);
    else if (is_dict(object))
        return append_dict(object);
    else if (is_list(object) || is_tuple(object))
        return append_sequence(object);
    else {
        PyErr_Format(PyExc_TypeError, "cannot report a %s", type_of(object)->tp_name);
        return -1;
    }
    return 0;
}

int emit_object(const char *type, PyObject *object, struct slice *slice)
{
    size_t line = channel.end;
    int result;

    if (channel.fd < 0)
        return 0;
    append_format("{\"type\":\"%s\",\"body\":", type);
    channel.slice = slice;
    result = append_object(object);
    channel.slice = NULL;
    if (result < 0) {
        channel.end = line;
        return -1;
    }
    append_text("}");
    end_line();
    return 0;
}

static int64_t milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int emit_flush(int timeout_ms)
{
    int64_t deadline = milliseconds() + timeout_ms;

    while (channel.fd >= 0 && !drain()) {
        struct pollfd writable = {.fd = channel.fd, .events = POLLOUT};
        int64_t left = deadline - milliseconds();
        if (left <= 0 || (poll(&writable, 1, (int)left) < 0 && errno != EINTR))
            channel.gone = true;
    }
    return channel.gone ? -1 : 0;
}
