// The addresses on which a training's processes meet.
#pragma once

#include <string>
#include <vector>

#include "dist/world.h"

namespace ttt {

// A socket bound to master_address:master_port, for rank 0's store, or to every address where that name is not one of
// this machine's (a Kubernetes service; "localhost" as the name of a pod that others know by another). Throws UserError
// when the port is taken or the name unknown. The caller owns the descriptor.
int bind_master_socket(const World& world);

// Whether anything accepts connections at master_address:master_port now, within a second.
bool is_listening(const World& world);

// The address of this machine from which rank 0 is reached, "10.0.0.7", for Gloo to listen on. "" when unknown.
std::string own_address(const World& world);

// The connected TCP sockets of this process, ascending.
std::vector<int> connected_sockets();

}  // namespace ttt
