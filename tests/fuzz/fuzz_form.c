/* Fuzzes multipart/form-data and the policy documents of POST uploads. The input's first line is
 * a boundary. Beside "no crash, no overrun": the form is the same in one piece and in bytes, and
 * the verdict over a policy is the same twice. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "auth/post_policy.h"
#include "server/s3/form.h"
#include "storage/base/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FIELDS 64

struct seen {
    struct arena *arena;
    struct post_field fields[FIELDS];
    size_t count;
    uint64_t hash;
    struct buf value;
};

static void mix(struct seen *s, struct bytes b, uint8_t kind)
{
    s->hash = (s->hash ^ kind) * 0x100000001b3U;
    for (size_t i = 0; i < b.len; i++)
        s->hash = (s->hash ^ b.ptr[i]) * 0x100000001b3U;
}

static enum kist_err on_begin(void *ctx, const struct form_part *part)
{
    struct seen *s = ctx;
    mix(s, part->name, 1);
    mix(s, part->filename, 2);
    mix(s, part->type, 3);
    if (s->count == FIELDS)
        return KIST_E_TOO_LARGE;
    s->fields[s->count].name = arena_copy(s->arena, part->name);
    s->value.len = 0;
    return KIST_OK;
}

static enum kist_err on_data(void *ctx, struct bytes piece)
{
    struct seen *s = ctx;
    return buf_append_bytes(&s->value, piece);
}

static enum kist_err on_end(void *ctx)
{
    struct seen *s = ctx;
    mix(s, buf_bytes(&s->value), 4);
    s->fields[s->count++].value = arena_copy(s->arena, buf_bytes(&s->value));
    return KIST_OK;
}

static enum kist_err parse(struct bytes type, struct bytes body, size_t step, struct seen *s,
                           bool *complete)
{
    struct form_parser p;
    struct form_sink sink = { on_begin, on_data, on_end, s };
    enum kist_err err = form_init(&p, type, &sink);
    for (size_t at = 0, used; err == KIST_OK && at < body.len; at += used) {
        size_t n = body.len - at < step ? body.len - at : step;
        err = form_feed(&p, bytes_of(body.ptr + at, n), &used);
    }
    *complete = err == KIST_OK && form_is_complete(&p);
    return err;
}

static void judge(struct seen *s)
{
    struct post_form form = { .fields = s->fields,
                              .count = s->count,
                              .bucket = BYTES_LIT("b"),
                              .region = BYTES_LIT("us-east-1"),
                              .now_ms = 1700000000000 };
    struct post_limits limits;
    const char *message = NULL;
    enum kist_err err = post_policy_check(&form, s->arena, &limits, &message);
    if (post_policy_check(&form, s->arena, &limits, &message) != err)
        abort();
}

/* The document alone, not in base64: what the fuzzer finds there is hard to find in a form. */
static void judge_text(struct seen *s, struct bytes text)
{
    char *encoded = arena_alloc(s->arena, BASE64_LEN(text.len) + 1);
    if (!encoded)
        return;
    base64_encode(text, encoded);
    s->fields[0] = (struct post_field){ BYTES_LIT("policy"), bytes_str(encoded) };
    s->fields[1] = (struct post_field){ BYTES_LIT("key"), BYTES_LIT("k") };
    s->count = 2;
    judge(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct bytes in = bytes_of(data, size);
    size_t line = bytes_find(in, BYTES_LIT("\n"), 0);
    arena_init(&arena, (size_t)8 << 20);
    if (line != SIZE_MAX && line < 100 && size < (64 << 10)) {
        struct seen whole = { .arena = &arena }, split = { .arena = &arena };
        struct bytes body = bytes_of(data + line + 1, size - line - 1);
        bool complete[2];
        char *type = arena_printf(&arena, "multipart/form-data; boundary=\"%.*s\"", (int)line,
                                  (const char *)data);
        buf_init(&whole.value, 1 << 20);
        buf_init(&split.value, 1 << 20);
        enum kist_err a = parse(bytes_str(type), body, SIZE_MAX, &whole, &complete[0]);
        enum kist_err b = parse(bytes_str(type), body, 1, &split, &complete[1]);
        if (a != b || complete[0] != complete[1] || whole.hash != split.hash)
            abort();
        judge(&whole);
        judge_text(&split, body);
        buf_release(&whole.value);
        buf_release(&split.value);
    }
    arena_release(&arena);
    return 0;
}
