/* What list-stale says (report.h): a group of lines for each module that has something to say. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "report.h"
#include "text.h"

enum {
    HOLDERS_SHOWN = 4, /* of one object, without -v */
    CHANGES_SHOWN = 30,
    NAME_WIDTH = 32, /* longer names do not push the other modules' columns away */
    NARROW = 60,
    UNLIMITED = 1 << 20,
};

struct table {
    FILE *out;
    bool color, verbose, asked; /* for modules by name */
    int width;                  /* of the terminal */
    int name_width, state_width;
    struct json_object *groups; /* of old objects, by module: those not printed yet */
};

bool report_is_stale(struct json_object *module)
{
    return !strcmp(member_text(module, "state"), "stale");
}

static bool has_moved(struct json_object *module)
{
    struct json_object *moved;

    return json_object_object_get_ex(module, "lines_moved", &moved) &&
           json_object_get_boolean(moved) && !report_is_stale(module);
}

static const char *state_of(struct json_object *module)
{
    return has_moved(module) ? "lines moved" : member_text(module, "state");
}

/* Columns that the text takes, as characters go. */
static int columns(const char *text)
{
    int n = 0;

    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static void pad(FILE *out, const char *text, int width)
{
    fprintf(out, "%*s", width > columns(text) ? width - columns(text) : 0, "");
}

static int terminal_width(FILE *stream)
{
    const char *columns = getenv("COLUMNS");
    struct winsize size;

    if (ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col)
        return size.ws_col;
    return isatty(fileno(stream)) && columns && atoi(columns) > 0 ? atoi(columns) : UNLIMITED;
}

/* --- old objects */

/* "shop.cart.Cart.add" without its module. */
static const char *name_within(struct json_object *object)
{
    const char *name = member_text(object, "object"), *module = member_text(object, "module");
    size_t length = strlen(module);

    return length && !strncmp(name, module, length) && name[length] == '.' ? name + length + 1
                                                                           : name;
}

static void print_count_of(const struct table *table, struct json_object *object)
{
    const char *kind = member_text(object, "kind");
    int64_t n = member_number(object, "count");

    if (*member_text(object, "thread")) {
        fputs("  in thread ", table->out);
        print_safe(table->out, member_text(object, "thread"), false);
        fprintf(table->out, ", line %" PRId64, member_number(object, "line"));
    } else if (!strcmp(kind, "frame")) {
        fprintf(table->out, "  %" PRId64 " suspended", n);
    } else if (!strcmp(kind, "instance")) {
        fputs("  ", table->out);
        print_count(table->out, n, "instance");
    } else if (n > 1) {
        fprintf(table->out, "  %" PRId64 " generations", n);
    }
}

static void print_holders(const struct table *table, struct json_object *object)
{
    struct json_object *holders = member_list(object, "held_by");
    size_t n = list_length(holders),
           shown = table->verbose || n <= HOLDERS_SHOWN + 1 ? n : HOLDERS_SHOWN;
    const char *indent = table->width < NARROW ? "    " : "             ";

    for (size_t i = 0; i < shown; i++) {
        struct json_object *holder = json_object_array_get_idx(holders, i);

        fprintf(table->out, "%s%s", indent, i ? "        " : "held by ");
        print_safe(table->out, member_text(holder, "path"), false);
        if (member_number(holder, "line"))
            fprintf(table->out, " line %" PRId64, member_number(holder, "line"));
        if (table->verbose && *member_text(holder, "kind")) {
            fputs(" (", table->out);
            print_safe(table->out, member_text(holder, "kind"), false);
            putc(')', table->out);
        }
        putc('\n', table->out);
    }
    if (shown < n)
        fprintf(table->out, "%s        and %zu more (-v)\n", indent, n - shown);
}

static void print_row(const struct table *table, enum paint paint, const char *what,
                      const char *kind, const char *name)
{
    fputs("  ", table->out);
    print_painted(table->out, table->color, paint, what);
    pad(table->out, what, 8);
    putc(' ', table->out);
    print_safe(table->out, kind, false);
    pad(table->out, kind, 9);
    putc(' ', table->out);
    print_safe(table->out, name, false);
}

static void print_object(const struct table *table, struct json_object *object)
{
    print_row(table, PAINT_WARNING, "old", member_text(object, "kind"), name_within(object));
    print_count_of(table, object);
    putc('\n', table->out);
    if (!*member_text(object, "thread"))
        print_holders(table, object);
}

/* {module: [old object, ...]}; json_object_put when done with it. */
static struct json_object *group_objects(struct json_object *objects)
{
    struct json_object *groups = json_object_new_object();

    for (size_t i = 0; i < list_length(objects); i++) {
        struct json_object *object = json_object_array_get_idx(objects, i), *group;
        const char *module = member_text(object, "module");

        if (!json_object_object_get_ex(groups, module, &group)) {
            group = json_object_new_array();
            json_object_object_add(groups, module, group);
        }
        json_object_array_add(group, json_object_get(object));
    }
    return groups;
}

static void print_objects(const struct table *table, struct json_object *objects)
{
    for (size_t i = 0; i < list_length(objects); i++)
        print_object(table, json_object_array_get_idx(objects, i));
}

/* --- modules */

static void print_changes(const struct table *table, struct json_object *changes)
{
    size_t n = list_length(changes);
    size_t shown = table->verbose || n <= CHANGES_SHOWN + 1 ? n : CHANGES_SHOWN;

    for (size_t i = 0; i < shown; i++) {
        struct json_object *change = json_object_array_get_idx(changes, i);
        const char *what = member_text(change, "change");

        print_row(table,
                  !strcmp(what, "added")     ? PAINT_GOOD
                  : !strcmp(what, "removed") ? PAINT_BAD
                                             : PAINT_NONE,
                  what, member_text(change, "kind"), member_text(change, "name"));
        putc('\n', table->out);
    }
    if (shown < n)
        fprintf(table->out, "  and %zu more (-v)\n", n - shown);
}

static void print_head(const struct table *table, struct json_object *module)
{
    const char *name = member_text(module, "name"), *state = state_of(module);
    const char *file = member_text(module, "file");
    int used = table->name_width + table->state_width + 4;

    print_painted(table->out, table->color, PAINT_BOLD, name);
    pad(table->out, name, table->name_width);
    fputs("  ", table->out);
    print_painted(table->out, table->color,
                  report_is_stale(module)        ? PAINT_WARNING
                  : !strcmp(state, "unreadable") ? PAINT_BAD
                                                 : PAINT_NONE,
                  state);
    if (*file && used + columns(file) > table->width)
        fputs("\n  ", table->out);
    else if (*file)
        pad(table->out, state, table->state_width + 2);
    print_safe(table->out, file, false);
    putc('\n', table->out);
}

static void print_module(const struct table *table, struct json_object *module)
{
    const char *why = member_text(module, "why");

    print_head(table, module);
    if (*why) {
        fputs("  ", table->out);
        print_safe(table->out, why, false);
        putc('\n', table->out);
    }
    if (table->verbose && !strcmp(member_text(module, "compared_with"), "objects") && !*why)
        fputs("  what was loaded is not known: compared with the living objects\n", table->out);
    print_changes(table, member_list(module, "changes"));
    print_objects(table, member_list(table->groups, member_text(module, "name")));
    json_object_object_del(table->groups, member_text(module, "name"));
}

/* Modules without source or with nothing to tell are told when they were asked for, or with -v. */
static bool is_told(const struct table *table, struct json_object *module)
{
    return report_is_stale(module) || has_moved(module) || table->asked || table->verbose ||
           !strcmp(member_text(module, "state"), "unreadable") ||
           list_length(member_list(table->groups, member_text(module, "name")));
}

static void measure(struct table *table, struct json_object *modules)
{
    for (size_t i = 0; i < list_length(modules); i++) {
        struct json_object *module = json_object_array_get_idx(modules, i);
        int name = columns(member_text(module, "name")), state = columns(state_of(module));

        if (!is_told(table, module))
            continue;
        if (name > table->name_width && name <= NAME_WIDTH)
            table->name_width = name;
        if (state > table->state_width)
            table->state_width = state;
    }
}

/* Old objects of modules that were not asked for. */
static void print_other_objects(const struct table *table)
{
    json_object_object_foreach(table->groups, module, objects)
    {
        print_painted(table->out, table->color, PAINT_BOLD, module);
        putc('\n', table->out);
        print_objects(table, objects);
    }
}

/* --- all of it */

static size_t count_modules(struct json_object *modules, const char *state)
{
    size_t n = 0;

    for (size_t i = 0; i < list_length(modules); i++)
        n += !strcmp(state_of(json_object_array_get_idx(modules, i)), state);
    return n;
}

static void print_summary(const struct table *table, struct json_object *result,
                          struct json_object *modules, struct json_object *objects)
{
    size_t moved = count_modules(modules, "lines moved");
    size_t unreadable = count_modules(modules, "unreadable");

    print_count(table->out, list_length(modules), "module");
    fprintf(table->out, " compared in %" PRId64 " (python ", member_number(result, "pid"));
    print_safe(table->out, member_text(result, "python"), false);
    fprintf(table->out, "): %zu stale", count_modules(modules, "stale"));
    if (moved)
        fprintf(table->out, ", %zu with lines moved", moved);
    if (unreadable)
        fprintf(table->out, ", %zu unreadable", unreadable);
    if (list_length(objects)) {
        fputs("; ", table->out);
        print_count(table->out, list_length(objects), "kind");
        fputs(" of old objects", table->out);
    }
    if (table->verbose)
        fprintf(table->out, "; %.0f ms", member_real(member_object(result, "time"), "total_ms"));
    putc('\n', table->out);
}

void report_stale(const struct options *options, struct json_object *result)
{
    struct json_object *modules = member_list(result, "modules");
    struct json_object *objects = member_list(result, "objects");
    struct table table = {
        .out = stdout,
        .color = color_wanted(options, stdout),
        .verbose = options->verbose,
        .asked = options->modules.n,
        .width = terminal_width(stdout),
    };

    if (options->json) {
        report_json(result);
        return;
    }
    if (options->quiet)
        return;
    table.groups = group_objects(objects);
    measure(&table, modules);
    for (size_t i = 0; i < list_length(modules); i++) {
        struct json_object *module = json_object_array_get_idx(modules, i);

        if (is_told(&table, module))
            print_module(&table, module);
    }
    print_other_objects(&table);
    json_object_put(table.groups);
    print_summary(&table, result, modules, objects);
    report_note(table.out, result);
}
