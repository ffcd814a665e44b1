# The smallest fight between a notifier and a zap of a range, with one page to be had.
vm vcpus=1 entries=4 code=0
mem m size=16K populate=1
slot 1 gfn=16 npages=4 mem=m
touch vcpu=0 gfn=16 op=w
phase race
thread sh
madvise m len=4K advice=dontneed
thread ioctl
zaprange gfn=16 n=1
