# The host drops a page (MMU notifier) while vCPUs fault on it and write it.
vm vcpus=2 entries=4 code=0
mem m size=16K populate=1
slot 1 gfn=16 npages=4 mem=m
touch vcpu=0 gfn=16 op=w
touch vcpu=1 gfn=18 op=w
phase race
thread vcpu0
touch vcpu=0 gfn=16 op=w
touch vcpu=0 gfn=17 op=w
thread vcpu1
touch vcpu=1 gfn=17 op=r
thread sh
madvise m len=8K advice=dontneed
