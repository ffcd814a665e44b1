# The smallest fight between the end of a log, which zaps a table for a huge page, and a zap of its range.
vm vcpus=1 entries=4 code=0
mem m type=2m size=16K populate=1
slot 1 gfn=16 npages=4 mem=m flags=1
touch vcpu=0 gfn=16 op=w
phase race
thread ioctl
setflags 1 flags=0
thread other
zaprange gfn=16 n=4
