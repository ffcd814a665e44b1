# The smallest fight between a fault and a notifier: the host drops the one page that is faulted on.
vm vcpus=1 entries=4 code=0
mem m size=16K populate=1
slot 1 gfn=16 npages=4 mem=m
touch vcpu=0 gfn=16 op=w
phase race
thread vcpu0
touch vcpu=0 gfn=17 op=w
thread sh
madvise m off=4K len=4K advice=dontneed
