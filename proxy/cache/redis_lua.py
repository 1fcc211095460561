"""The changes of the index in Redis, in Lua: each is one step, whoever else asks meanwhile.

| key | what is there |
| --- | --- |
| entries | an entry, as bytes, by its key |
| about | what it weighs and is worth, whose it is, which pictures it holds, and when it was used |
| ranks | `floor + worth` of each, with the number of its last use before its key: of two of one rank the one that was used longer ago comes first |
| expiry | when each ends, in Redis's milliseconds |
| owners | the digests of caller and namespace before each key: those of one stand together |
| refs | how many entries hold a picture |
| doomed | pictures that no entry holds, and from when on they can go |
| deleting | those that a process deletes, and when it is taken to have failed |
| totals | the bytes of `memory` and `disk`, the `floor`, and how many `uses` there were |

All of them are told to every script, as a cluster wants it. A picture goes from `refs` to `doomed`
to `deleting`; whoever wants it meanwhile takes it out of the second, and has to do without it in
the third.
"""  # noqa: E501 - a row of the table

from __future__ import annotations

KEYS = (
    *("entries", "about", "ranks", "expiry", "owners"),
    *("refs", "doomed", "deleting", "totals"),
)
"""The last parts of the keys, in the order in which the scripts take them."""

OWNER_BYTES = 32
"""Bytes of the digests of caller and namespace."""
_SERIAL_DIGITS = 16
"""Digits of the number of a use."""

_PRELUDE = f"""
local entries, about, ranks, expiry, owners, refs, doomed, deleting, totals = unpack(KEYS)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local grace = tonumber(ARGV[1])

local function total(name)
  return tonumber(redis.call('HGET', totals, name) or 0)
end

local function held(digest)
  return redis.call('HEXISTS', refs, digest) == 1
end

local function doom(digest)
  redis.call('ZADD', doomed, now + grace, digest)
end

local function used(key, it)
  it.serial = redis.call('HINCRBY', totals, 'uses', 1)
  redis.call('ZADD', ranks, total('floor') + it.worth, string.format('%0{_SERIAL_DIGITS}.0f', it.serial) .. key)
  redis.call('HSET', about, key, cmsgpack.pack(it))
end

local function unranked(key, it)
  redis.call('ZREM', ranks, string.format('%0{_SERIAL_DIGITS}.0f', it.serial) .. key)
end

local function hold(digest, length)
  if redis.call('HINCRBY', refs, digest, 1) == 1 then
    redis.call('HINCRBY', totals, 'disk', length)
  end
  redis.call('ZREM', doomed, digest)
end

local function release(digest, length)
  if redis.call('HINCRBY', refs, digest, -1) <= 0 then
    redis.call('HDEL', refs, digest)
    redis.call('HINCRBY', totals, 'disk', -length)
    doom(digest)
  end
end

local function remove(key)
  local packed = redis.call('HGET', about, key)
  if not packed then return false end
  local it = cmsgpack.unpack(packed)
  redis.call('HDEL', entries, key)
  redis.call('HDEL', about, key)
  redis.call('ZREM', expiry, key)
  redis.call('ZREM', owners, it.owner .. key)
  unranked(key, it)
  redis.call('HINCRBY', totals, 'memory', -it.weight)
  for i = 1, #it.pictures, 2 do release(it.pictures[i], it.pictures[i + 1]) end
  return true
end
"""  # noqa: E501 - a line of Lua

GET = (
    _PRELUDE
    + """
local key = ARGV[2]
local left = tonumber(redis.call('ZSCORE', expiry, key) or 0) - now
local packed, body = redis.call('HGET', about, key), redis.call('HGET', entries, key)
if left <= 0 or not packed or not body then return false end
local it = cmsgpack.unpack(packed)
unranked(key, it)
used(key, it)
return {body, left}
"""
)
"""Give what is kept under a key and the milliseconds that are left to it."""

PUT = (
    _PRELUDE
    + f"""
local key, body, owner = ARGV[2], ARGV[3], ARGV[4]
local weight, worth, left = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local memory, disk = tonumber(ARGV[8]), tonumber(ARGV[9])
local pictures, size, busy = {{}}, 0, false
for i = 10, #ARGV, 2 do
  table.insert(pictures, ARGV[i])
  table.insert(pictures, tonumber(ARGV[i + 1]))
  size = size + tonumber(ARGV[i + 1])
  busy = busy or redis.call('ZSCORE', deleting, ARGV[i])
end

local function is_sound()
  local count = redis.call('HLEN', entries)
  for _, name in ipairs({{ranks, expiry, owners}}) do
    if redis.call('ZCARD', name) ~= count then return false end
  end
  local kept = redis.call('HLEN', refs)
  return redis.call('HLEN', about) == count
    and (count > 0) == (total('memory') > 0)
    and (kept > 0) == (total('disk') > 0)
    and (count > 0 or kept == 0)
end

local function evict()
  local lowest = redis.call('ZRANGE', ranks, 0, 0, 'WITHSCORES')
  redis.call('HSET', totals, 'floor', lowest[2])
  remove(string.sub(lowest[1], {_SERIAL_DIGITS} + 1))
end

if not is_sound() then
  -- Somebody has deleted keys of ours, or Redis has for want of memory: the books begin anew.
  redis.call('UNLINK', entries, about, ranks, expiry, owners, refs, totals)
end
remove(key)
if busy or weight > memory or size > disk then
  for i = 1, #pictures, 2 do
    if not held(pictures[i]) then doom(pictures[i]) end
  end
  return 0
end
for i = 1, #pictures, 2 do hold(pictures[i], pictures[i + 1]) end
while total('disk') > disk do evict() end
while total('memory') + weight > memory do evict() end
redis.call('HSET', entries, key, body)
redis.call('HINCRBY', totals, 'memory', weight)
redis.call('ZADD', expiry, now + left, key)
redis.call('ZADD', owners, 0, owner .. key)
used(key, {{weight = weight, worth = worth, owner = owner, pictures = pictures}})
return 1
"""
)
"""Keep an entry if there can be room for it, and nobody deletes a picture of it."""

REMOVE = _PRELUDE + "remove(ARGV[2])"
"""Give an entry up."""

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
"""Give up some of the entries of an owner; tells how many."""

EXPIRE = (
    _PRELUDE
    + """
local lease, limit = ARGV[2], ARGV[3]
local function past(key)
  return redis.call('ZRANGEBYSCORE', key, '-inf', now, 'LIMIT', 0, limit)
end

local old = past(expiry)
for _, key in ipairs(old) do
  if not remove(key) then redis.call('ZREM', expiry, key) end
end
for _, digest in ipairs(past(deleting)) do
  redis.call('ZREM', deleting, digest)
  if not held(digest) then redis.call('ZADD', doomed, now, digest) end
end
local free = {}
for _, digest in ipairs(past(doomed)) do
  local until_then = redis.call('ZSCORE', deleting, digest)
  if until_then then
    redis.call('ZADD', doomed, until_then, digest)
  else
    redis.call('ZREM', doomed, digest)
    if not held(digest) then
      redis.call('ZADD', deleting, now + lease, digest)
      table.insert(free, digest)
    end
  end
end
return {#old, free}
"""
)
"""Give up some of what is too old; gives how many, and pictures for the asker to delete."""

RESERVE = (
    _PRELUDE
    + """
local digest = ARGV[2]
if redis.call('ZSCORE', deleting, digest) then return -1 end
if held(digest) then return 1 end
doom(digest)
return 0
"""
)
"""Have a picture go unless an entry comes to hold it; 1 if one does, -1 if it is being deleted."""

RELEASE = (
    _PRELUDE
    + """
for i = 2, #ARGV do
  local going = redis.call('ZSCORE', doomed, ARGV[i]) or redis.call('ZSCORE', deleting, ARGV[i])
  if not going and not held(ARGV[i]) then doom(ARGV[i]) end
end
"""
)
"""Have those of some pictures go that no entry holds."""

CONFIRM_DELETED = _PRELUDE + "for i = 2, #ARGV do redis.call('ZREM', deleting, ARGV[i]) end"
"""Note that pictures are deleted."""
