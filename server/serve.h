/* `kist serve`. */
#ifndef KIST_SERVER_SERVE_H
#define KIST_SERVER_SERVE_H

int serve(int argc, char **argv);

#endif
