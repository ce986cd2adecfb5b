/** What a caller of the core, or a driver on its behalf, can do wrong. The message says what, where, and what to do next. */

export type IommErrorCode =
  /** The Mm has a PASID already, and this device cannot send it. */
  | 'PasidOutOfRange'
  /** No PASID is free below the limit. */
  | 'PasidExhausted'
  /** The device, or the IOMMU, has no PASIDs. */
  | 'NoPasid'
  /** Something still uses the object: bonds on a device whose domain is to change, devices in a domain that is to be freed. */
  | 'Busy'
  /** The device has no such bond. */
  | 'NotBound'
  /** The device is attached to no domain. */
  | 'NoDomain'
  /** The hardware, the domain's kind or the device does not offer it; the message names the condition. */
  | 'Unsupported'
  /** No ASID can be pinned. */
  | 'AsidExhausted'
  /** The process has exited. */
  | 'MmDead'
  /** The address lies in a window that devices cannot use for memory. */
  | 'Reserved'
  /** Something of that name or number exists already. */
  | 'Exists'
  /** The object belongs to another IOMMU, or was freed. */
  | 'Foreign'
  /** No page request of that group waits for a response. */
  | 'UnknownGroup'
  /** Addresses, sizes or numbers that make no sense. */
  | 'BadArgument'
  /** The hardware did not do what it was told. */
  | 'Hardware'

export class IommError extends Error {
  readonly code: IommErrorCode
  constructor(code: IommErrorCode, message: string) {
    super(message)
    this.name = 'IommError'
    this.code = code
  }
}
