# A memslot is deleted, and then the host gives its memory up: no root may map it any more, one that a worker zaps included.
vm vcpus=2 entries=4 code=0 kernel=5.18
mem m size=16K populate=1
mem other size=16K populate=1
slot 1 gfn=16 npages=4 mem=m
slot 2 gfn=32 npages=4 mem=other
touch vcpu=0 gfn=16 n=2 op=w
touch vcpu=1 gfn=32 op=w
phase race
thread vcpu1
touch vcpu=1 gfn=33 op=w
thread ioctl
delslot 1
madvise m len=8K advice=dontneed
