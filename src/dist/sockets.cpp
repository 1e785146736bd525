#include "dist/sockets.h"

#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>

#include "base/error.h"

namespace ttt {
namespace {

constexpr int kConnectMilliseconds = 1000;

using Addresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

// What `host` stands for; null: every address of this machine.
Addresses resolve(const char* host, int port, int kind) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = kind;
  hints.ai_flags = AI_NUMERICSERV | AI_PASSIVE;
  const int error = getaddrinfo(host, std::to_string(port).c_str(), &hints, &found);
  if (error != 0)
    user_error("MASTER_ADDR '", host, "' cannot be resolved: ", gai_strerror(error), "; give the host of rank 0");
  return {found, freeaddrinfo};
}

std::string to_text(const sockaddr* address, socklen_t size) {
  char text[NI_MAXHOST];
  return getnameinfo(address, size, text, sizeof text, nullptr, 0, NI_NUMERICHOST) == 0 ? text : "";
}

// The first that can be bound; -1 with errno of the last try.
int bind_one_of(const addrinfo* addresses) {
  int error = EADDRNOTAVAIL;
  for (; addresses != nullptr; addresses = addresses->ai_next) {
    const int fd = socket(addresses->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) continue;
    const int on = 1, off = 0;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);  // not held up by the connections of a run that ended
    if (addresses->ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, addresses->ai_addr, addresses->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0) return fd;
    error = errno;
    close(fd);
    if (error == EADDRINUSE) break;
  }
  errno = error;
  return -1;
}

}  // namespace

int bind_master_socket(const World& world) {
  const Addresses named = resolve(world.master_address.c_str(), world.master_port, SOCK_STREAM);
  const bool hidden_name = !world.on_one_machine() && to_text(named->ai_addr, named->ai_addrlen).starts_with("127.");
  int fd = -1;
  if (!hidden_name) fd = bind_one_of(named.get());
  if (hidden_name || (fd < 0 && errno == EADDRNOTAVAIL))
    fd = bind_one_of(resolve(nullptr, world.master_port, SOCK_STREAM).get());
  if (fd >= 0) return fd;
  if (errno == EADDRINUSE) {
    user_error("port ", world.master_port, " of ", world.master_address,
               " is taken, by another run perhaps; set MASTER_PORT to a free one");
  }
  user_error("rank 0 cannot listen on ", world.master_address, ":", world.master_port, ": ", std::strerror(errno),
             "; set MASTER_ADDR and MASTER_PORT");
}

bool is_listening(const World& world) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  if (getaddrinfo(world.master_address.c_str(), std::to_string(world.master_port).c_str(), &hints, &found) != 0)
    return false;
  const Addresses addresses(found, freeaddrinfo);
  bool listening = false;
  for (const addrinfo* address = found; address != nullptr && !listening; address = address->ai_next) {
    pollfd connection = {socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), POLLOUT, 0};
    if (connection.fd < 0) continue;
    int error = connect(connection.fd, address->ai_addr, address->ai_addrlen) == 0 ? 0 : errno;
    socklen_t size = sizeof error;
    if (error == EINPROGRESS && poll(&connection, 1, kConnectMilliseconds) == 1)
      getsockopt(connection.fd, SOL_SOCKET, SO_ERROR, &error, &size);
    listening = error == 0;
    close(connection.fd);
  }
  return listening;
}

std::string own_address(const World& world) {
  const Addresses named = resolve(world.master_address.c_str(), world.master_port, SOCK_DGRAM);
  // Connecting a datagram socket sends nothing; it asks which way packets would go.
  const int fd = socket(named->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return "";
  sockaddr_storage own{};
  socklen_t size = sizeof own;
  const bool known = connect(fd, named->ai_addr, named->ai_addrlen) == 0 &&
                     getsockname(fd, reinterpret_cast<sockaddr*>(&own), &size) == 0;
  close(fd);
  const std::string text = known ? to_text(reinterpret_cast<const sockaddr*>(&own), size) : "";
  return !world.on_one_machine() && text.starts_with("127.") ? "" : text;
}

std::vector<int> connected_sockets() {
  std::vector<int> sockets;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    const int fd = std::atoi(entry.path().filename().c_str());
    sockaddr_storage peer{};
    socklen_t size = sizeof peer;
    if (getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) != 0) continue;
    if (peer.ss_family == AF_INET || peer.ss_family == AF_INET6) sockets.push_back(fd);
  }
  std::sort(sockets.begin(), sockets.end());
  return sockets;
}

}  // namespace ttt
