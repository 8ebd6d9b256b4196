/* Sub-commands that work on a data directory which no server uses: scrub, fsck, account, kms. */
#ifndef KIST_SERVER_CLI_TOOLS_H
#define KIST_SERVER_CLI_TOOLS_H

int cli_scrub(int argc, char **argv);
int cli_fsck(int argc, char **argv);
int cli_account(int argc, char **argv);
/* Through a server. */
int cli_site(int argc, char **argv);
int cli_user(int argc, char **argv);
int cli_key(int argc, char **argv);
int cli_policy(int argc, char **argv);
/* Either. */
int cli_kms(int argc, char **argv);

#endif
