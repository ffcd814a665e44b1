# The smallest fight between a write and the beginning of the log: one page that is mapped writable.
vm vcpus=1 entries=4 code=0
mem m size=16K populate=1
slot 1 gfn=16 npages=4 mem=m
touch vcpu=0 gfn=16 op=w
phase race
thread vcpu0
touch vcpu=0 gfn=16 op=w
thread ioctl
setflags 1 flags=1
