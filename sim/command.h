/* command.h - the command `cairn sim`.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: runs clusters under faults, seed by seed, and checks them. Exit status 0: no violation; 1: a violation, printed
 *          with the way to replay it; 2: wrong arguments. The last line of a single run is `trace-hash: HEX`. */
#ifndef CAIRN_SIM_COMMAND_H
#define CAIRN_SIM_COMMAND_H

int sim_main(int argc, char **argv);
void sim_help(void); /* prints what its options are */

#endif
