/** Who looks for the tables of which kind of IOMMU. A further architecture is one more line. */
import { amdScanner } from './amdvi.ts'
import type { Scanner } from './contract.ts'
import { riscvScanner } from './riscv.ts'
import { smmuScanner } from './smmuv3.ts'
import { vtdScanner } from './vtd.ts'

/** Scanners for the CPUs of a machine (e_machine); all of them where it is not known. */
export function scannersFor(machine: number | null): Scanner[] {
  const all = [smmuScanner(), vtdScanner(), amdScanner(), riscvScanner()]
  return machine === null ? all : all.filter(({ machines }) => machines.includes(machine))
}
