# The host makes small pages huge (khugepaged) and splits them again while vCPUs fault.
vm vcpus=2 entries=4 code=0
mem m type=thp size=16K
slot 1 gfn=16 npages=4 mem=m
hosttouch m n=1 op=r
touch vcpu=0 gfn=16 op=w
touch vcpu=1 gfn=17 op=w
phase race
thread vcpu0
touch vcpu=0 gfn=18 op=w
touch vcpu=0 gfn=16 op=r
thread vcpu1
touch vcpu=1 gfn=19 op=r
thread sh
madvise m len=16K advice=collapse
madvise m off=4K len=4K advice=dontneed
