/* Errors as values (error.h). */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct error out_of_memory = {
    .status = EXIT_CANNOT_ATTACH,
    .code = "out-of-memory",
    .message = "out of memory",
};

/* Takes `message`.  An error is never success, whatever the agent says its status is. */
static struct error *error_alloc(enum exit_status status, const char *code, char *message)
{
    struct error *error = malloc(sizeof(*error));
    char *copy = strdup(code);

    if (!error || !copy || !message) {
        free(error);
        free(copy);
        free(message);
        return &out_of_memory;
    }
    if (status <= EXIT_DONE || status > EXIT_REPORT_LOST)
        status = EXIT_CANNOT_ATTACH;
    *error = (struct error){.status = status, .code = copy, .message = message};
    return error;
}

/* malloc'ed text, or NULL. */
static char *format_text(const char *format, va_list arguments)
{
    char *text;

    return vasprintf(&text, format, arguments) < 0 ? NULL : text;
}

struct error *error_new(enum exit_status status, const char *code, const char *message, ...)
{
    va_list arguments;
    char *text;

    va_start(arguments, message);
    text = format_text(message, arguments);
    va_end(arguments);
    return error_alloc(status, code, text);
}

struct error *error_errno(enum exit_status status, const char *code, int errnum,
                          const char *message, ...)
{
    va_list arguments;
    char *text, *whole = NULL;

    va_start(arguments, message);
    text = format_text(message, arguments);
    va_end(arguments);
    if (text && asprintf(&whole, "%s: %s", text, strerror(errnum)) < 0)
        whole = NULL;
    free(text);
    return error_alloc(status, code, whole);
}

struct error *error_hint(struct error *error, const char *hint, ...)
{
    va_list arguments;

    if (error == &out_of_memory)
        return error;
    free(error->hint);
    va_start(arguments, hint);
    error->hint = format_text(hint, arguments);
    va_end(arguments);
    return error;
}

void error_free(struct error *error)
{
    if (!error || error == &out_of_memory)
        return;
    free(error->code);
    free(error->message);
    free(error->hint);
    free(error);
}
