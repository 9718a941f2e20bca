/* Text for a terminal (text.h). */
#include "text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct json_object *member(struct json_object *object, const char *key, json_type type)
{
    struct json_object *value;

    if (!json_object_is_type(object, json_type_object) ||
        !json_object_object_get_ex(object, key, &value) || !json_object_is_type(value, type))
        return NULL;
    return value;
}

const char *member_text(struct json_object *object, const char *key)
{
    struct json_object *value = member(object, key, json_type_string);

    return value ? json_object_get_string(value) : "";
}

int64_t member_number(struct json_object *object, const char *key)
{
    struct json_object *value = member(object, key, json_type_int);

    return value ? json_object_get_int64(value) : 0;
}

double member_real(struct json_object *object, const char *key)
{
    struct json_object *value = member(object, key, json_type_double);

    return value ? json_object_get_double(value) : member_number(object, key);
}

struct json_object *member_list(struct json_object *object, const char *key)
{
    return member(object, key, json_type_array);
}

struct json_object *member_object(struct json_object *object, const char *key)
{
    return member(object, key, json_type_object);
}

size_t list_length(struct json_object *list)
{
    return list ? json_object_array_length(list) : 0;
}

/* The length of the UTF-8 sequence at `c`, 0 if it is none: RFC 3629, section 4. */
static size_t utf8_length(const unsigned char *c)
{
    size_t length = *c < 0x80                  ? 1
                    : *c >= 0xc2 && *c < 0xe0  ? 2
                    : *c >= 0xe0 && *c < 0xf0  ? 3
                    : *c >= 0xf0 && *c <= 0xf4 ? 4
                                               : 0;

    for (size_t i = 1; i < length; i++)
        if ((c[i] & 0xc0) != 0x80)
            return 0;
    if ((*c == 0xe0 && c[1] < 0xa0) || (*c == 0xed && c[1] > 0x9f) || (*c == 0xf0 && c[1] < 0x90) ||
        (*c == 0xf4 && c[1] > 0x8f))
        return 0; /* overlong, a surrogate, or beyond U+10FFFF */
    return length;
}

struct json_object *json_text(const char *bytes)
{
    struct json_object *object;
    size_t size = 0;
    char *text = NULL;
    FILE *out = open_memstream(&text, &size);

    if (!out)
        return NULL;
    for (const unsigned char *c = (const unsigned char *)bytes; *c;) {
        size_t length = utf8_length(c);

        if (length)
            fwrite(c, 1, length, out);
        else
            fputs("\xef\xbf\xbd", out);
        c += length ? length : 1;
    }
    fclose(out);
    object = json_object_new_string_len(text, size);
    free(text);
    return object;
}

void print_safe(FILE *out, const char *text, bool lines)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        /* C1 controls, U+0080 to U+009F, are C2 80 to C2 9F in UTF-8. */
        if (*c == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0)
            fprintf(out, "\\x%02x", *++c);
        else if ((*c < 0x20 && *c != '\t' && !(lines && *c == '\n')) || *c == 0x7f)
            fprintf(out, "\\x%02x", *c);
        else
            putc(*c, out);
    }
}

void print_count(FILE *out, int64_t n, const char *noun)
{
    size_t length = strlen(noun);

    fprintf(out, "%" PRId64 " ", n);
    if (n == 1)
        fputs(noun, out);
    else if (noun[length - 1] == 's')
        fprintf(out, "%ses", noun);
    else if (noun[length - 1] == 'y')
        fprintf(out, "%.*sies", (int)length - 1, noun);
    else
        fprintf(out, "%ss", noun);
}

bool color_wanted(const struct options *options, FILE *stream)
{
    const char *no_color = getenv("NO_COLOR"), *terminal = getenv("TERM");

    if (options->color != COLOR_AUTO)
        return options->color == COLOR_ALWAYS;
    if ((no_color && *no_color) || !terminal || !strcmp(terminal, "dumb"))
        return false;
    return isatty(fileno(stream));
}

void print_painted(FILE *out, bool color, enum paint paint, const char *text)
{
    static const char *const start[] = {"", "\033[1m", "\033[32m", "\033[33m", "\033[31m"};

    color = color && paint != PAINT_NONE;
    if (color)
        fputs(start[paint], out);
    print_safe(out, text, false);
    if (color)
        fputs("\033[0m", out);
}
