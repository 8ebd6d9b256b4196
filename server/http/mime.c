#include "server/http/mime.h"

/* https://www.iana.org/assignments/media-types/media-types.xhtml */
static const char *const types[][2] = {
    { "html", "text/html" },
    { "htm", "text/html" },
    { "xhtml", "application/xhtml+xml" },
    { "css", "text/css" },
    { "js", "text/javascript" },
    { "mjs", "text/javascript" },
    { "json", "application/json" },
    { "map", "application/json" },
    { "jsonld", "application/ld+json" },
    { "geojson", "application/geo+json" },
    { "webmanifest", "application/manifest+json" },
    { "txt", "text/plain" },
    { "md", "text/markdown" },
    { "csv", "text/csv" },
    { "ics", "text/calendar" },
    { "vtt", "text/vtt" },
    { "xml", "application/xml" },
    { "rss", "application/rss+xml" },
    { "atom", "application/atom+xml" },
    { "svg", "image/svg+xml" },
    { "png", "image/png" },
    { "apng", "image/apng" },
    { "jpg", "image/jpeg" },
    { "jpeg", "image/jpeg" },
    { "gif", "image/gif" },
    { "webp", "image/webp" },
    { "avif", "image/avif" },
    { "bmp", "image/bmp" },
    { "ico", "image/vnd.microsoft.icon" },
    { "woff2", "font/woff2" },
    { "woff", "font/woff" },
    { "ttf", "font/ttf" },
    { "otf", "font/otf" },
    { "pdf", "application/pdf" },
    { "wasm", "application/wasm" },
    { "mp4", "video/mp4" },
    { "webm", "video/webm" },
    { "ogv", "video/ogg" },
    { "mp3", "audio/mpeg" },
    { "m4a", "audio/mp4" },
    { "oga", "audio/ogg" },
    { "ogg", "audio/ogg" },
    { "wav", "audio/wav" },
    { "flac", "audio/flac" },
    { "epub", "application/epub+zip" },
    { "zip", "application/zip" },
    { "gz", "application/gzip" },
};

const char *mime_type(struct bytes name)
{
    size_t dot = name.len;
    while (dot > 0 && name.ptr[dot - 1] != '.' && name.ptr[dot - 1] != '/')
        dot--;
    if (dot == 0 || name.ptr[dot - 1] != '.')
        return NULL;
    struct bytes tail = bytes_of(name.ptr + dot, name.len - dot);
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (bytes_equal_nocase(tail, bytes_str(types[i][0])))
            return types[i][1];
    return NULL;
}
