//! The registered schemas: .proto texts, which Java clients register, and descriptors in base64, which Python clients register.
//!
//! prost-reflect defines valid schemas. Only the parts that a record depends on are passed to it: no options, extensions and
//! services, which are often defined in files that no registry has.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::prost::Message;
use prost_reflect::prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};
use prost_reflect::{DescriptorPool, FileDescriptor, Kind, MessageDescriptor};

use super::builtin;

/// The name of the schema's own file, which no file imports.
const ROOT: &str = "<schema>";

/// Maximum number of messages that a schema declares.
const MAX_MESSAGES: usize = 1024;

/// The file with the messages of a schema, and all that it imports; `None` if it is not valid, or has no message.
///
/// `references` are the names and texts of imported files, each before the files that import it.
pub(super) fn compile<'a>(
    text: &str,
    references: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Option<FileDescriptor> {
    let mut pool = DescriptorPool::global();
    for (name, text) in references {
        if pool.get_file_by_name(name).is_none() {
            add(&mut pool, name, text)?;
        }
    }
    add(&mut pool, ROOT, text)?;
    let file = pool.get_file_by_name(ROOT)?;
    if !pool.all_messages().filter(MessageDescriptor::is_map_entry).all(|entry| is_entry(&entry)) {
        return None;
    }
    let messages = count(&mut file.messages());
    (1..=MAX_MESSAGES).contains(&messages).then_some(file)
}

/// Whether an entry of a map has a value, and a key of a type that keys can have. prost-reflect does not check it.
fn is_entry(entry: &MessageDescriptor) -> bool {
    let has_key = entry.get_field(1).is_some_and(|key| {
        !key.is_list()
            && !matches!(key.kind(), Kind::Double | Kind::Float | Kind::Bytes | Kind::Message(_) | Kind::Enum(_))
    });
    has_key && entry.get_field(2).is_some_and(|value| !value.is_list() && !value.is_group())
}

fn count(messages: &mut dyn Iterator<Item = MessageDescriptor>) -> usize {
    messages.map(|message| 1 + count(&mut message.child_messages())).sum()
}

/// The nested messages that have an index. Entries of maps have none: no author has declared them.
pub(super) fn declared(messages: impl Iterator<Item = MessageDescriptor>) -> impl Iterator<Item = MessageDescriptor> {
    messages.filter(|message| !message.is_map_entry())
}

fn add(pool: &mut DescriptorPool, name: &str, text: &str) -> Option<()> {
    let mut file = parse(name, text)?;
    reduce(&mut file);
    file.name = Some(name.to_owned());
    for import in &file.dependency {
        add_missing(pool, import)?;
    }
    pool.add_file_descriptor_proto(file).ok()
}

/// Adds an import that the registry does not have: a file of Protobuf's or Confluent's own, which clients do not register, or an
/// empty one. Its types are unknown, which matters only if a field has one of them.
fn add_missing(pool: &mut DescriptorPool, name: &str) -> Option<()> {
    if pool.get_file_by_name(name).is_some() {
        return Some(());
    }
    match builtin::text(name) {
        Some(text) => add(pool, name, text),
        None => {
            let empty = FileDescriptorProto { name: Some(name.to_owned()), ..FileDescriptorProto::default() };
            pool.add_file_descriptor_proto(empty).ok()
        }
    }
}

fn parse(name: &str, text: &str) -> Option<FileDescriptorProto> {
    let base64: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    match STANDARD.decode(base64) {
        Ok(bytes) => descriptor(&bytes),
        Err(_) => protox_parse::parse(name, text).ok(),
    }
}

/// A file, or the last file of a set, which no other file of it imports. A set as a file has a name only.
fn descriptor(bytes: &[u8]) -> Option<FileDescriptorProto> {
    let file = FileDescriptorProto::decode(bytes).ok().filter(|file| !file.message_type.is_empty());
    file.or_else(|| FileDescriptorSet::decode(bytes).ok()?.file.pop())
}

fn reduce(file: &mut FileDescriptorProto) {
    let FileDescriptorProto { message_type, enum_type, service, extension, options, source_code_info, .. } = file;
    (*options, *source_code_info) = (None, None);
    service.clear();
    extension.clear();
    message_type.iter_mut().for_each(reduce_message);
    enum_type.iter_mut().for_each(reduce_enum);
}

fn reduce_message(message: &mut DescriptorProto) {
    let DescriptorProto { field, extension, nested_type, enum_type, extension_range, oneof_decl, options, .. } =
        message;
    extension.clear();
    extension_range.clear();
    field.iter_mut().for_each(|field| field.options = None);
    oneof_decl.iter_mut().for_each(|oneof| oneof.options = None);
    if let Some(options) = options {
        *options = prost_reflect::prost_types::MessageOptions { map_entry: options.map_entry, ..Default::default() };
    }
    nested_type.iter_mut().for_each(reduce_message);
    enum_type.iter_mut().for_each(reduce_enum);
}

fn reduce_enum(declaration: &mut EnumDescriptorProto) {
    let EnumDescriptorProto { value, options, .. } = declaration;
    value.iter_mut().for_each(|value| value.options = None);
    // Two names of one number are valid with this option only; the compiler of the author has checked it.
    *options = Some(prost_reflect::prost_types::EnumOptions { allow_alias: Some(true), ..Default::default() });
}
