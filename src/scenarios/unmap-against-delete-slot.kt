# The host drops a page of one memslot while another is deleted: invalid roots still map it.
vm vcpus=2 entries=4 code=0
mem m size=16K populate=1
mem other size=16K populate=1
slot 1 gfn=16 npages=4 mem=m
slot 2 gfn=32 npages=4 mem=other
touch vcpu=0 gfn=16 n=2 op=w
touch vcpu=1 gfn=32 op=w
phase race
thread vcpu0
touch vcpu=0 gfn=33 op=r
thread ioctl
delslot 2
thread sh
madvise m len=8K advice=dontneed
