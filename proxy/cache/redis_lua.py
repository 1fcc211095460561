"""Lua scripts of the cache index in Redis. Each script is one atomic step.

| key | content |
| --- | --- |
| entries | the encoded entry of each cache key |
| metadata | its weight, eviction value, owner, images and number of its last use |
| ranks | `floor + value` of each; members are prefixed with the number of the last use, so that of equal ranks the least recently used comes first |
| expiry | when each expires, in milliseconds of Redis's clock |
| owners | each key, prefixed with digests of caller and namespace, so that an owner's keys are adjacent |
| refs | how many entries reference an image |
| orphans | images that no entry references, and when they may be deleted |
| deleting | images leased to a process for deletion, and when the lease ends |
| totals | the bytes of `memory` and `disk`, the `floor`, and the number of `uses` |

Every script gets all keys, as a Redis Cluster requires. An image goes from `refs` to `orphans` to
`deleting`. A new entry can reference an orphan again, but not an image in `deleting`.
"""  # noqa: E501 - a row of the table

from __future__ import annotations

KEYS = (
    *("entries", "metadata", "ranks", "expiry", "owners"),
    *("refs", "orphans", "deleting", "totals"),
)
"""The last part of each Redis key, in the order in which the scripts take them."""

OWNER_BYTES = 32
"""Length of the digests of caller and namespace together."""
_SERIAL_DIGITS = 16
"""Digits of the number of a use, zero-padded."""

_PRELUDE = f"""
local entries, metadata, ranks, expiry, owners, refs, orphans, deleting, totals = unpack(KEYS)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local grace = tonumber(ARGV[1])

local function total(name)
  return tonumber(redis.call('HGET', totals, name) or 0)
end

local function is_referenced(digest)
  return redis.call('HEXISTS', refs, digest) == 1
end

local function orphan(digest)
  redis.call('ZADD', orphans, now + grace, digest)
end

local function touch(key, meta)
  meta.serial = redis.call('HINCRBY', totals, 'uses', 1)
  redis.call('ZADD', ranks, total('floor') + meta.value, string.format('%0{_SERIAL_DIGITS}.0f', meta.serial) .. key)
  redis.call('HSET', metadata, key, cmsgpack.pack(meta))
end

local function remove_rank(key, meta)
  redis.call('ZREM', ranks, string.format('%0{_SERIAL_DIGITS}.0f', meta.serial) .. key)
end

local function add_reference(digest, length)
  if redis.call('HINCRBY', refs, digest, 1) == 1 then
    redis.call('HINCRBY', totals, 'disk', length)
  end
  redis.call('ZREM', orphans, digest)
end

local function drop_reference(digest, length)
  if redis.call('HINCRBY', refs, digest, -1) <= 0 then
    redis.call('HDEL', refs, digest)
    redis.call('HINCRBY', totals, 'disk', -length)
    orphan(digest)
  end
end

local function remove(key)
  local packed = redis.call('HGET', metadata, key)
  if not packed then return false end
  local meta = cmsgpack.unpack(packed)
  redis.call('HDEL', entries, key)
  redis.call('HDEL', metadata, key)
  redis.call('ZREM', expiry, key)
  redis.call('ZREM', owners, meta.owner .. key)
  remove_rank(key, meta)
  redis.call('HINCRBY', totals, 'memory', -meta.weight)
  for i = 1, #meta.images, 2 do drop_reference(meta.images[i], meta.images[i + 1]) end
  return true
end
"""  # noqa: E501 - a line of Lua

GET = (
    _PRELUDE
    + """
local key = ARGV[2]
local ttl = tonumber(redis.call('ZSCORE', expiry, key) or 0) - now
local packed, body = redis.call('HGET', metadata, key), redis.call('HGET', entries, key)
if ttl <= 0 or not packed or not body then return false end
local meta = cmsgpack.unpack(packed)
remove_rank(key, meta)
touch(key, meta)
return {body, ttl}
"""
)
"""Return the entry of a key and its remaining lifetime in milliseconds."""

PUT = (
    _PRELUDE
    + f"""
local key, body, owner = ARGV[2], ARGV[3], ARGV[4]
local weight, value, ttl = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local memory, disk = tonumber(ARGV[8]), tonumber(ARGV[9])
local images, size, busy = {{}}, 0, false
for i = 10, #ARGV, 2 do
  table.insert(images, ARGV[i])
  table.insert(images, tonumber(ARGV[i + 1]))
  size = size + tonumber(ARGV[i + 1])
  busy = busy or redis.call('ZSCORE', deleting, ARGV[i])
end

local function is_consistent()
  local count = redis.call('HLEN', entries)
  for _, name in ipairs({{ranks, expiry, owners}}) do
    if redis.call('ZCARD', name) ~= count then return false end
  end
  local referenced = redis.call('HLEN', refs)
  return redis.call('HLEN', metadata) == count
    and (count > 0) == (total('memory') > 0)
    and (referenced > 0) == (total('disk') > 0)
    and (count > 0 or referenced == 0)
end

local function evict()
  local lowest = redis.call('ZRANGE', ranks, 0, 0, 'WITHSCORES')
  redis.call('HSET', totals, 'floor', lowest[2])
  remove(string.sub(lowest[1], {_SERIAL_DIGITS} + 1))
end

if not is_consistent() then
  -- Some keys were deleted, by hand or by a maxmemory policy: start with an empty index.
  redis.call('UNLINK', entries, metadata, ranks, expiry, owners, refs, totals)
end
remove(key)
if busy or weight > memory or size > disk then
  for i = 1, #images, 2 do
    if not is_referenced(images[i]) then orphan(images[i]) end
  end
  return 0
end
for i = 1, #images, 2 do add_reference(images[i], images[i + 1]) end
while total('disk') > disk do evict() end
while total('memory') + weight > memory do evict() end
redis.call('HSET', entries, key, body)
redis.call('HINCRBY', totals, 'memory', weight)
redis.call('ZADD', expiry, now + ttl, key)
redis.call('ZADD', owners, 0, owner .. key)
touch(key, {{weight = weight, value = value, owner = owner, images = images}})
return 1
"""
)
"""Add an entry, unless it exceeds a limit or one of its images is being deleted."""

REMOVE = _PRELUDE + "remove(ARGV[2])"
"""Remove an entry."""

PURGE = (
    _PRELUDE
    + f"""
local found = redis.call('ZRANGEBYLEX', owners, ARGV[2], ARGV[3], 'LIMIT', 0, ARGV[4])
for _, member in ipairs(found) do
  if not remove(string.sub(member, {OWNER_BYTES} + 1)) then redis.call('ZREM', owners, member) end
end
return #found
"""
)
"""Remove a batch of an owner's entries; return its size."""

EXPIRE = (
    _PRELUDE
    + """
local lease, limit = ARGV[2], ARGV[3]
local function past(key)
  return redis.call('ZRANGEBYSCORE', key, '-inf', now, 'LIMIT', 0, limit)
end

local expired = past(expiry)
for _, key in ipairs(expired) do
  if not remove(key) then redis.call('ZREM', expiry, key) end
end
for _, digest in ipairs(past(deleting)) do
  redis.call('ZREM', deleting, digest)
  if not is_referenced(digest) then redis.call('ZADD', orphans, now, digest) end
end
local leased = {}
for _, digest in ipairs(past(orphans)) do
  local until_then = redis.call('ZSCORE', deleting, digest)
  if until_then then
    redis.call('ZADD', orphans, until_then, digest)
  else
    redis.call('ZREM', orphans, digest)
    if not is_referenced(digest) then
      redis.call('ZADD', deleting, now + lease, digest)
      table.insert(leased, digest)
    end
  end
end
return {#expired, leased}
"""
)
"""Remove a batch of expired entries; return its size, and images leased for deletion."""

RESERVE = (
    _PRELUDE
    + """
local digest = ARGV[2]
if redis.call('ZSCORE', deleting, digest) then return -1 end
if is_referenced(digest) then return 1 end
orphan(digest)
return 0
"""
)
"""Schedule an image for deletion unless an entry references meta.

Returns 1 if one does, -1 if the image is being deleted, else 0.
"""

RELEASE = (
    _PRELUDE
    + """
for i = 2, #ARGV do
  local digest = ARGV[i]
  local scheduled = redis.call('ZSCORE', orphans, digest) or redis.call('ZSCORE', deleting, digest)
  if not scheduled and not is_referenced(digest) then orphan(digest) end
end
"""
)
"""Schedule the deletion of those of these images that no entry references."""

CONFIRM_DELETED = _PRELUDE + "for i = 2, #ARGV do redis.call('ZREM', deleting, ARGV[i]) end"
"""Record that images have been deleted."""
