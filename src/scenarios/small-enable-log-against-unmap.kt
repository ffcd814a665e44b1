# The smallest fight between the beginning of a log and a notifier: the page that is protected goes.
vm vcpus=1 entries=4 code=0
mem m size=16K populate=1
slot 1 gfn=16 npages=4 mem=m
touch vcpu=0 gfn=16 op=w
phase race
thread ioctl
setflags 1 flags=1
thread sh
madvise m len=4K advice=dontneed
