/* `kist bench`: a load generator for any S3 endpoint over plain HTTP. */
#ifndef KIST_SERVER_CLI_BENCH_H
#define KIST_SERVER_CLI_BENCH_H

int cli_bench(int argc, char **argv);

#endif
