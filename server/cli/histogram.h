/* Latencies in bounded memory: 64 buckets to each power of two, so within 1.6 percent. */
#ifndef KIST_SERVER_CLI_HISTOGRAM_H
#define KIST_SERVER_CLI_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BUCKETS (64 * 40)

struct histogram {
    uint64_t count, sum, max;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};
void histogram_add(struct histogram *h, uint64_t ns);
void histogram_merge(struct histogram *into, const struct histogram *from);
/* The value below which this share (0..1) lies; 0 when empty. */
uint64_t histogram_quantile(const struct histogram *h, double share);

#endif
