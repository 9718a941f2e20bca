/* What pyhot says (report.h). */
#include "report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../agent/request.h"
#include "text.h"

#define NAMES_SHOWN 8 /* of a list, without -v */

/* Where and how the text of one report goes. */
struct sheet {
    FILE *out;
    bool color, dry_run;
    int verbose;
    int64_t pid;
    const char *python;
};

static struct sheet sheet_for(const struct options *options, struct json_object *result)
{
    return (struct sheet){
        .out = stdout,
        .color = color_wanted(options, stdout),
        .dry_run = options->flags & PYHOT_DRY_RUN,
        .verbose = options->verbose,
        .pid = options->pid,
        .python = member_text(result, "python"),
    };
}

void report_json(struct json_object *object)
{
    puts(json_object_to_json_string_ext(object,
                                        JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
}

/* "6 dict, 4 instance": the members of an object of numbers that are not 0, or its list of
 * nouns; prints nothing for none. */
static void print_kinds(FILE *out, const char *before, struct json_object *kinds)
{
    if (!kinds)
        return;
    json_object_object_foreach(kinds, kind, count)
    {
        int64_t n = json_object_get_int64(count);

        if (!n)
            continue;
        fprintf(out, "%s%" PRId64 " ", before, n);
        print_safe(out, kind, false);
        before = ", ";
    }
}

/* A member of a list of names is a string, or an object with a "name". */
static const char *name_of(struct json_object *item)
{
    if (json_object_is_type(item, json_type_string))
        return json_object_get_string(item);
    return member_text(item, "name");
}

/* "  added: a, b and 3 more" */
static void print_names(const struct sheet *sheet, const char *label, struct json_object *list)
{
    size_t n = list_length(list);
    size_t shown = sheet->verbose || n <= NAMES_SHOWN ? n : NAMES_SHOWN;

    if (!n)
        return;
    fprintf(sheet->out, "  %s: ", label);
    for (size_t i = 0; i < shown; i++) {
        fputs(i ? ", " : "", sheet->out);
        print_safe(sheet->out, name_of(json_object_array_get_idx(list, i)), false);
    }
    if (shown < n)
        fprintf(sheet->out, " and %zu more (-v)", n - shown);
    putc('\n', sheet->out);
}

/* ": 3 functions, 2 classes, 5 methods" */
static void print_replaced(const struct sheet *sheet, struct json_object *replaced)
{
    static const struct {
        const char *key, *noun;
    } kinds[] = {{"functions", "function"},
                 {"classes", "class"},
                 {"methods", "method"},
                 {"code", "code object"}};
    const char *before = ": ";

    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        int64_t n = member_number(replaced, kinds[i].key);

        if (!n)
            continue;
        fputs(before, sheet->out);
        print_count(sheet->out, n, kinds[i].noun);
        before = ", ";
    }
}

/* Does the traceback, whose last line is "TYPE: TEXT", say it all?  str() of a SyntaxError repeats
 * the place behind the text: "TEXT (mod.py, line 2)". */
static bool tells_all(const char *traceback, const char *message)
{
    const char *end = traceback + strlen(traceback), *line, *text;
    size_t length;

    while (end > traceback && end[-1] == '\n')
        end--;
    for (line = end; line > traceback && line[-1] != '\n'; line--)
        ;
    text = strstr(line, ": ");
    if (strstr(traceback, message))
        return true;
    length = text ? (size_t)(end - (text + 2)) : 0;
    return length && !strncmp(message, text + 2, length) && !strncmp(message + length, " (", 2);
}

/* The traceback ends with the exception itself, unless the agent has more to say of it. */
static void print_exception(const struct sheet *sheet, struct json_object *exception)
{
    const char *traceback = member_text(exception, "traceback");
    const char *message = member_text(exception, "message");

    print_safe(sheet->out, traceback, true);
    if (*traceback && traceback[strlen(traceback) - 1] != '\n')
        putc('\n', sheet->out);
    if (*traceback && tells_all(traceback, message))
        return;
    fputs("  ", sheet->out);
    print_safe(sheet->out, member_text(exception, "type"), false);
    fputs(": ", sheet->out);
    print_safe(sheet->out, message, false);
    putc('\n', sheet->out);
}

/* With -v, definition by definition: "  replaced function total, 3 references: 2 dict, 1 field" */
static void print_definitions(const struct sheet *sheet, struct json_object *details)
{
    for (size_t i = 0; i < list_length(details); i++) {
        struct json_object *detail = json_object_array_get_idx(details, i);

        fputs("  ", sheet->out);
        print_safe(sheet->out, member_text(detail, "change"), false);
        putc(' ', sheet->out);
        print_safe(sheet->out, member_text(detail, "kind"), false);
        putc(' ', sheet->out);
        print_safe(sheet->out, member_text(detail, "name"), false);
        if (member_number(detail, "references")) {
            fputs(", ", sheet->out);
            print_count(sheet->out, member_number(detail, "references"), "reference");
            print_kinds(sheet->out, ": ", member_object(detail, "by_kind"));
        }
        putc('\n', sheet->out);
    }
}

static void print_verdict(const struct sheet *sheet, struct json_object *module)
{
    const char *result = member_text(module, "result");
    bool reloaded = !strcmp(result, "reloaded"), failed = !strcmp(result, "failed");

    print_painted(sheet->out, sheet->color,
                  reloaded ? PAINT_GOOD
                  : failed ? PAINT_BAD
                           : PAINT_NONE,
                  reloaded && sheet->dry_run ? "would be reloaded" : result);
    fprintf(sheet->out, " in %" PRId64 " (python ", sheet->pid);
    print_safe(sheet->out, sheet->python, false);
    putc(')', sheet->out);
    if (failed)
        fputs(": the new source failed, nothing was changed", sheet->out);
    else
        print_replaced(sheet, member_object(module, "replaced"));
    putc('\n', sheet->out);
}

/* "  not in app, which is kept: count, add (--new app)" */
static void print_unregistered(const struct sheet *sheet, struct json_object *objects)
{
    struct json_object_iterator at, end;

    if (!objects)
        return;
    at = json_object_iter_begin(objects);
    end = json_object_iter_end(objects);
    for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at)) {
        const char *name = json_object_iter_peek_name(&at);
        struct json_object *names = json_object_iter_peek_value(&at);

        fputs("  ", sheet->out);
        print_painted(sheet->out, sheet->color, PAINT_WARNING, "not in ");
        print_safe(sheet->out, name, false);
        fputs(", which is kept: ", sheet->out);
        for (size_t i = 0; i < list_length(names); i++) {
            fputs(i ? ", " : "", sheet->out);
            print_safe(sheet->out, json_object_get_string(json_object_array_get_idx(names, i)),
                       false);
        }
        fputs(" (--new ", sheet->out);
        print_safe(sheet->out, name, false);
        fputs(" takes the new one)\n", sheet->out);
    }
}

static void print_module(const struct sheet *sheet, struct json_object *module)
{
    struct json_object *exception = member_object(module, "error");

    print_painted(sheet->out, sheet->color, PAINT_BOLD, member_text(module, "name"));
    putc(' ', sheet->out);
    print_verdict(sheet, module);
    if (sheet->verbose && *member_text(module, "file")) {
        fputs("  file: ", sheet->out);
        print_safe(sheet->out, member_text(module, "file"), false);
        putc('\n', sheet->out);
    }
    print_names(sheet, "added", member_list(module, "added"));
    print_names(sheet, "removed", member_list(module, "removed"));
    print_names(sheet, "kept", member_list(module, "kept"));
    print_names(sheet, "taken", member_list(module, "taken"));
    print_unregistered(sheet, member_object(module, "unregistered"));
    if (sheet->verbose)
        print_definitions(sheet, member_list(module, "details"));
    if (exception)
        print_exception(sheet, exception);
}

/* "  dict of shop.orders: 2" */
static void print_held(const struct sheet *sheet, struct json_object *held)
{
    for (size_t i = 0; i < list_length(held); i++) {
        struct json_object *entry = json_object_array_get_idx(held, i);

        fputs("  ", sheet->out);
        print_painted(sheet->out, sheet->color, PAINT_WARNING, "still held");
        fputs(": ", sheet->out);
        print_safe(sheet->out, member_text(entry, "object"), false);
        fputs(" by ", sheet->out);
        print_safe(sheet->out, member_text(entry, "where"), false);
        if (member_number(entry, "count") > 1)
            fprintf(sheet->out, " (%" PRId64 " times)", member_number(entry, "count"));
        putc('\n', sheet->out);
    }
}

/* "thread" is a name or an id. */
static void print_thread(const struct sheet *sheet, struct json_object *frame)
{
    if (member_number(frame, "thread"))
        fprintf(sheet->out, "%" PRId64, member_number(frame, "thread"));
    else
        print_safe(sheet->out, member_text(frame, "thread"), false);
}

static void print_frames(const struct sheet *sheet, struct json_object *frames)
{
    for (size_t i = 0; i < list_length(frames); i++) {
        struct json_object *frame = json_object_array_get_idx(frames, i);

        fputs("  still running old code: ", sheet->out);
        print_safe(sheet->out, member_text(frame, "function"), false);
        fputs(" (", sheet->out);
        print_safe(sheet->out, member_text(frame, "file"), false);
        fprintf(sheet->out, ":%" PRId64 ") in ", member_number(frame, "line"));
        if (*member_text(frame, "suspended")) {
            fputs("a suspended ", sheet->out);
            print_safe(sheet->out, member_text(frame, "suspended"), false);
        } else {
            fputs("thread ", sheet->out);
            print_thread(sheet, frame);
        }
        putc('\n', sheet->out);
    }
}

static void print_remap(const struct sheet *sheet, struct json_object *remap)
{
    int64_t rewritten = member_number(remap, "references_rewritten");
    int64_t unresolved = member_number(remap, "unresolved");
    int64_t unaccounted = member_number(remap, "unaccounted");

    if (!member_number(remap, "objects_scanned"))
        return; /* nothing was to be rewritten */
    fputs("  ", sheet->out);
    print_count(sheet->out, rewritten, "reference");
    fputs(sheet->dry_run ? " to rewrite" : " rewritten", sheet->out);
    print_kinds(sheet->out, ": ", member_object(remap, "by_kind"));
    fputs("; ", sheet->out);
    print_count(sheet->out, member_number(remap, "referrers"), "object");
    fputs(" referred to what was replaced\n", sheet->out);
    if (member_number(remap, "migrated")) {
        fputs("  ", sheet->out);
        print_count(sheet->out, member_number(remap, "migrated"), "instance");
        fputs(" moved to the new layout\n", sheet->out);
    }
    print_held(sheet, member_list(remap, "held"));
    if (unresolved || unaccounted) {
        fputs("  ", sheet->out);
        print_count(sheet->out, unresolved, "reference");
        fprintf(sheet->out, " could not be rewritten, %" PRId64 " held where pyhot cannot look\n",
                unaccounted);
    }
    print_frames(sheet, member_list(remap, "frames_on_old_code"));
}

static void print_details(const struct sheet *sheet, struct json_object *result)
{
    struct json_object *remap = member_object(result, "remap");
    struct json_object *time = member_object(result, "time");

    if (remap) {
        fprintf(sheet->out, "  %" PRId64 " objects scanned",
                member_number(remap, "objects_scanned"));
        print_kinds(sheet->out, "; rehashed: ", member_object(remap, "rehashed"));
        putc('\n', sheet->out);
    }
    if (member_number(time, "stop_us"))
        fprintf(sheet->out, "  one thread stopped for %.1f ms, ",
                member_real(time, "stop_us") / 1000);
    else /* remote-exec, or a debugger had stopped it */
        fprintf(sheet->out, "  no thread stopped, ");
    fprintf(sheet->out, "the GIL held for %.1f ms (scan %.1f, commit %.1f), %.1f ms in all\n",
            member_real(time, "gil_ms"), member_real(time, "scan_ms"),
            member_real(time, "commit_ms"), member_real(time, "total_ms"));
}

/* With --quiet only what went wrong is said. */
static bool is_worth_saying(const struct options *options, struct json_object *result)
{
    return !options->quiet || member_number(result, "exit") != EXIT_DONE;
}

void report_note(FILE *out, struct json_object *result)
{
    if (!*member_text(result, "note"))
        return;
    fputs("note: ", out);
    print_safe(out, member_text(result, "note"), false);
    putc('\n', out);
}

void report_attach(const struct options *options, struct json_object *result)
{
    struct sheet sheet = sheet_for(options, result);
    struct json_object *modules = member_list(result, "modules");

    if (options->json) {
        report_json(result);
        return;
    }
    if (!is_worth_saying(options, result))
        return;
    if (!list_length(modules))
        fprintf(sheet.out, "nothing to reload in %" PRId64 " (python %s)\n", sheet.pid,
                sheet.python);
    for (size_t i = 0; i < list_length(modules); i++)
        print_module(&sheet, json_object_array_get_idx(modules, i));
    print_names(&sheet, "left by the failed source, not taken back", member_list(result, "left"));
    print_remap(&sheet, member_object(result, "remap"));
    report_note(sheet.out, result);
    if (sheet.verbose)
        print_details(&sheet, result);
}

static void print_place(const struct sheet *sheet, struct json_object *frame)
{
    print_safe(sheet->out, member_text(frame, "function"), false);
    fputs(" (", sheet->out);
    print_safe(sheet->out, member_text(frame, "file"), false);
    fprintf(sheet->out, ":%" PRId64 ")\n", member_number(frame, "line"));
}

/* The innermost frame, and those that run old code; with -v all.  How many of these are old. */
static size_t print_thread_frames(const struct sheet *sheet, const char *indent,
                                  struct json_object *thread)
{
    struct json_object *frames = member_list(thread, "frames");
    size_t n_old = 0;

    fputs(indent, sheet->out);
    print_painted(sheet->out, sheet->color, PAINT_BOLD, member_text(thread, "name"));
    if (member_number(thread, "tid"))
        fprintf(sheet->out, " (%" PRId64 ")", member_number(thread, "tid"));
    fputs(": ", sheet->out);
    if (!list_length(frames))
        putc('\n', sheet->out);
    for (size_t i = 0; i < list_length(frames); i++) {
        struct json_object *frame = json_object_array_get_idx(frames, i);
        bool old = *member_text(frame, "old");

        n_old += old;
        if (i && !old && !sheet->verbose)
            continue;
        if (i)
            fprintf(sheet->out, "%s  ", indent);
        if (old)
            print_painted(sheet->out, sheet->color, PAINT_WARNING, "old code: ");
        print_place(sheet, frame);
    }
    return n_old;
}

/* How many of the threads run old code. */
static size_t print_threads(const struct sheet *sheet, const char *indent,
                            struct json_object *threads)
{
    size_t n = 0;

    for (size_t i = 0; i < list_length(threads); i++)
        if (print_thread_frames(sheet, indent, json_object_array_get_idx(threads, i)))
            n++;
    return n;
}

void report_where(const struct options *options, struct json_object *result)
{
    struct sheet sheet = sheet_for(options, result);
    struct json_object *threads = member_list(result, "threads");
    size_t n;

    if (options->json) {
        report_json(result);
        return;
    }
    if (options->quiet)
        return;
    n = print_threads(&sheet, "", threads);
    print_count(sheet.out, list_length(threads), "thread");
    fprintf(sheet.out, " in %" PRId64 " (python %s), %zu on old code\n", sheet.pid, sheet.python,
            n);
}

static void print_process(const struct sheet *sheet, struct json_object *process)
{
    struct sheet brief = *sheet;
    struct json_object *error = member_object(process, "error");
    const char *python = member_text(process, "python"), *user = member_text(process, "user");

    fprintf(sheet->out, "%7" PRId64 " ", member_number(process, "pid"));
    if (*user)
        fprintf(sheet->out, "%-10s ", user);
    else
        fprintf(sheet->out, "%-10" PRId64 " ", member_number(process, "uid"));
    fprintf(sheet->out, "%-9s ", *python ? python : "-");
    print_safe(sheet->out, member_text(process, "command"), false);
    putc('\n', sheet->out);
    brief.verbose--; /* the one that has them listed at all */
    print_threads(&brief, "        ", member_list(process, "threads"));
    if (!error)
        return;
    fputs("        ", sheet->out);
    print_painted(sheet->out, sheet->color, PAINT_WARNING, member_text(error, "message"));
    if (*member_text(error, "hint")) {
        fputs("; ", sheet->out);
        print_safe(sheet->out, member_text(error, "hint"), false);
    }
    putc('\n', sheet->out);
}

void report_processes(const struct options *options, struct json_object *result)
{
    struct sheet sheet = sheet_for(options, result);
    struct json_object *processes = member_list(result, "processes");

    if (options->json) {
        report_json(result);
        return;
    }
    if (!options->quiet)
        fprintf(sheet.out, "%7s %-10s %-9s %s\n", "PID", "USER", "PYTHON", "COMMAND");
    for (size_t i = 0; i < list_length(processes); i++)
        print_process(&sheet, json_object_array_get_idx(processes, i));
}

struct json_object *report_error_object(const struct options *options, const struct error *error)
{
    struct json_object *object = json_object_new_object(), *body = json_object_new_object();

    if (options->pid)
        json_object_object_add(object, "pid", json_object_new_int(options->pid));
    json_object_object_add(body, "code", json_object_new_string(error->code));
    json_object_object_add(body, "message", json_text(error->message));
    json_object_object_add(body, "hint", error->hint ? json_text(error->hint) : NULL);
    json_object_object_add(object, "error", body);
    json_object_object_add(object, "exit", json_object_new_int(error->status));
    return object;
}

void report_tree(struct json_object *processes, enum exit_status status)
{
    struct json_object *whole = json_object_new_object();

    json_object_object_add(whole, "processes", json_object_get(processes));
    json_object_object_add(whole, "exit", json_object_new_int(status));
    report_json(whole);
    json_object_put(whole);
}

void report_error(const struct options *options, const struct error *error)
{
    if (options->json) {
        struct json_object *object = report_error_object(options, error);

        report_json(object);
        json_object_put(object);
        return;
    }
    print_painted(stderr, color_wanted(options, stderr), PAINT_BAD, "pyhot: ");
    print_safe(stderr, error->message, false);
    putc('\n', stderr);
    if (error->hint) {
        fputs("       ", stderr);
        print_safe(stderr, error->hint, false);
        putc('\n', stderr);
    }
}

void report_progress_start(struct progress *progress, const struct options *options)
{
    *progress = (struct progress){.wanted = !options->quiet && isatty(STDERR_FILENO)};
}

void report_progress(const char *phase, uint64_t done, uint64_t total, void *arg)
{
    struct progress *progress = arg;

    if (!progress->wanted)
        return;
    fputs("\r\033[K", stderr);
    print_safe(stderr, phase, false);
    if (total)
        fprintf(stderr, " %" PRIu64 "/%" PRIu64, done, total);
    else if (done)
        fprintf(stderr, " %" PRIu64, done);
    fflush(stderr);
    progress->shown = true;
}

void report_progress_end(struct progress *progress)
{
    if (progress->shown)
        fputs("\r\033[K", stderr);
    progress->shown = false;
}

bool report_flush(bool done)
{
    bool lost = ferror(stdout);

    /* Why a write in the middle failed is forgotten by now; one more byte fails for it too. */
    errno = 0;
    if (fflush(stdout) || (lost && write(STDOUT_FILENO, "\n", 1) < 0))
        lost = true;
    if (lost)
        fprintf(stderr, "pyhot: cannot write the report: %s%s\n",
                errno ? strerror(errno) : "output error",
                done ? "; what was asked for is done" : "");
    return !lost;
}
