/* Preloaded into tc: the first traffic-control request that it would send goes to the file $TC_BYTES instead,
   and tc ends there. Everything else (its look-up of the interface) goes its way. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static int is_a_change(const struct msghdr* message) {
  if (message->msg_iovlen == 0 || message->msg_iov[0].iov_len < sizeof(struct nlmsghdr)) return 0;
  switch (((const struct nlmsghdr*)message->msg_iov[0].iov_base)->nlmsg_type) {
    case RTM_NEWQDISC:
    case RTM_DELQDISC:
    case RTM_NEWTCLASS:
    case RTM_DELTCLASS:
      return 1;
    default:
      return 0;
  }
}

ssize_t sendmsg(int fd, const struct msghdr* message, int flags) {
  if (is_a_change(message)) {
    const int file = open(getenv("TC_BYTES"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    _exit(file >= 0 && writev(file, message->msg_iov, (int)message->msg_iovlen) > 0 ? 0 : 3);
  }
  ssize_t (*next)(int, const struct msghdr*, int);
  *(void**)&next = dlsym(RTLD_NEXT, "sendmsg");
  return next(fd, message, flags);
}
