/* Range and date headers, numbers, bucket names, copy sources. The first byte chooses. */
#include "server/s3/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void range(struct bytes in)
{
    struct s3_range r;
    for (uint64_t object = 0; object < 3000; object = object * 3 + 1)
        if (s3_range_parse(in, object, &r) == S3_RANGE_OK &&
            (r.length == 0 || r.first >= object || r.length > object - r.first))
            __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct bytes in = bytes_of(data, size);
    struct object_id source;
    int64_t ms;
    uint64_t number;
    arena_init(&arena, 1 << 20);
    range(in);
    (void)!time_parse_http(in, &ms);
    (void)!time_parse_amz(in, &ms);
    (void)!time_parse_iso(in, &ms);
    (void)!bytes_to_u64(in, UINT64_MAX, &number);
    (void)s3_bucket_name_valid(in);
    if (s3_parse_copy_source(in, &arena, &source) == S3_COPY_SOURCE_OK &&
        (!source.bucket.len || !source.key.len))
        __builtin_trap();
    arena_release(&arena);
    return 0;
}
