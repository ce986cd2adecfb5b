/**
 * The library. Everything here also runs in a browser; `iomm/node` adds files.
 *
 * @example
 * ```ts
 * import { Machine, UR, UW } from 'iomm'
 *
 * const machine = new Machine({ iommu: 'smmuv3' })
 * const { mm } = machine.addProcess('X')
 * machine.run(mm.mmap(0x10000n, 0x4000n, UR | UW))
 * ```
 */
export type { TranslationStep } from './base/explain.ts'
export * from './base/hex.ts'
export * from './base/layout.ts'
export * from './base/memory.ts'
export * from './base/op.ts'
export * from './base/types.ts'
export { Bond } from './core/bond.ts'
export type { Device, Group } from './core/device.ts'
export type { Domain } from './core/domain.ts'
export * from './core/driver.ts'
export { IommError } from './core/error.ts'
export type { CoreEvent } from './core/events.ts'
export type { IoMm } from './core/io-mm.ts'
export { Iommu, type IommuOptions } from './core/iommu.ts'
export { SmmuV3Driver } from './driver/smmuv3/driver.ts'
export * from './format/pt/enumerate.ts'
export * from './format/pt/format.ts'
export * from './format/pt/mapper.ts'
export { type Granule, type Regime, vmsav8 } from './format/pt/vmsav8.ts'
export * from './format/pt/walker.ts'
export { STRUCTURE_SETS } from './format/registry.ts'
export * from './inspect/graph.ts'
export { INSPECTORS, type Inspectable, inspectMachine } from './inspect/registry.ts'
export type { Inspector, MachineSource } from './inspect/source.ts'
export * from './machine/index.ts'
export * from './memory/physical.ts'
export * from './mm/contract.ts'
export { Mm } from './mm/mm.ts'
export { MmSystem } from './mm/system.ts'
export * from './model/iommu.ts'
export { SmmuV3 } from './model/smmuv3/smmu.ts'
export * from './render/index.ts'
